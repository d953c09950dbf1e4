"""JSON as it is meant: each name once, no NaN, and no number that lost a digit on the way in."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from trueup.contracts.problems import malformed, quote

_MOST_DIGITS = 4_300  # more of them Python does not take, and nothing of ours is that long


class Inexact(str):
    """The text of a JSON number that no integer is made of: with a point or an exponent, or of thousands of digits."""


def read(body: bytes) -> Any:
    """The value that a body spells; Refused when it spells none, or more than one."""
    try:
        text = body.decode("utf-8")
        return json.loads(text, object_pairs_hook=_once_each, parse_float=Inexact, parse_int=_integer, parse_constant=_no_number)
    except UnicodeDecodeError as fault:
        raise malformed(f"not UTF-8 at byte {fault.start}") from fault
    except RecursionError as fault:
        raise malformed("nested too deeply") from fault
    except json.JSONDecodeError as fault:
        raise malformed(f"{fault.msg} at character {fault.pos}") from fault
    except ValueError as fault:
        raise malformed(str(fault)[:200]) from fault


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _value in pairs:
            if name in seen:
                raise ValueError(f"the name {quote(name)} stands twice in one object")
            seen.add(name)
    return found


def _integer(text: str) -> int | Inexact:
    return int(text) if len(text) <= _MOST_DIGITS else Inexact(text)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
