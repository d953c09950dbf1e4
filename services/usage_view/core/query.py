"""What stands behind the question mark: each parameter once, and none that nobody knows unless strangers are let be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl, unquote_plus

from trueup.contracts.problems import Fault, Refused, is_text, quote, unprocessable

MOST_PARAMETERS = 16
LONGEST_VALUE = 255


def parameters(query_string: bytes, known: Collection[str], *, strangers: bool = False) -> Mapping[str, str]:
    """Read a query string; Refused with every fault in it. With `strangers` what nobody knows is passed over, however it is written."""
    if strangers:
        query_string = b"&".join(piece for piece in query_string.split(b"&") if _name_of(piece) in known)
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query_string),
            errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )
    except ValueError as fault:
        raise refused(f"the query cannot be read: {quote(str(fault))}") from fault
    faults = [Fault("", "bad_parameter", why) for name, value in pairs if (why := _fault(name, value, known))]
    names = [name for name, _ in pairs]
    faults += [Fault("", "bad_parameter", f"{quote(name)} stands twice") for name in sorted(set(names)) if names.count(name) > 1]
    if faults:
        raise unprocessable(faults)
    return dict(pairs)


def refused(detail: str) -> Refused:
    """One thing is wrong with the query."""
    return unprocessable([Fault("", "bad_parameter", detail)])


def _name_of(piece: bytes) -> str:
    return unquote_plus(piece.partition(b"=")[0].decode("ascii", "replace"), errors="replace")


def _fault(name: str, value: str, known: Collection[str]) -> str | None:
    if name not in known:
        return f"there is no parameter {quote(name)}; there are {', '.join(sorted(known))}"
    if len(value) > LONGEST_VALUE or "\0" in value or not is_text(value):
        return f"{name} is text of at most {LONGEST_VALUE} characters"
    return None
