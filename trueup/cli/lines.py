"""From lines to facts: an object of `POST /v1/events`, checked as that door checks it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from trueup.contracts.events import RefusalReason, UsageEvent, check_fields
from trueup.contracts.quantities import from_decimal_text

REQUIRED = ("id", "source", "customer", "meter", "value", "time")
OPTIONAL = ("reason", "corrects", "dimensions")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_DIGITS = 1_000  # far beyond what a quantity may have, and below what Python refuses to read
INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*(Z|[+-]\d\d:?\d\d)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A line that is an event."""

    line: int
    event: UsageEvent


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that is none, and why; the reasons are those of a refused event."""

    line: int
    reason: str
    detail: str

    def as_row(self) -> dict[str, Any]:
        """The object of `events send --json`."""
        return {"line": self.line, "reason": self.reason, "detail": self.detail}


class LineFault(ValueError):
    """What is wrong with a line."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class _Float:
    """Stands where JSON had a number with a fraction or an exponent: such a number is already rounded, whoever wrote it."""

    def __init__(self, text: str) -> None:
        self.text = text


def bad_field(detail: str) -> LineFault:
    """The commonest fault: a field that is missing or not as it must be."""
    return LineFault(RefusalReason.BAD_FIELD, detail)


def instant_ms(text: str, *, utc_by_default: bool) -> int:
    """Milliseconds of an instant with any number of fractional digits, rounded down; ValueError when it is none."""
    found = INSTANT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no instant like 2026-11-01T00:00:00Z")
    day, clock, fraction, offset = found.groups()
    if offset is None and not utc_by_default:
        raise ValueError(f"{text!r} names no offset from UTC")
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{(offset or 'Z').upper()}")
    except ValueError as fault:
        raise ValueError(f"{text!r} is no instant: its day, its time of day or its offset from UTC does not exist") from fault
    return (moment - EPOCH) // timedelta(milliseconds=1) + int((fraction or "0").ljust(3, "0")[:3])


def quantity_of(value: object, meter: str, scales: Mapping[str, int]) -> int:
    """A value in the meter's unit as an integer in its smallest unit; never through a float."""
    if meter not in scales:
        raise LineFault(RefusalReason.UNKNOWN_METER, f"meter {meter!r} is not in the catalogue")
    match value:
        case _Float():
            raise bad_field(f"value {value.text} is a float: write it as a decimal string")
        case bool():
            raise bad_field("value must be a decimal string or an integer")
        case int():
            return value * int(10 ** scales[meter])
        case str():
            try:
                return from_decimal_text(value, scales[meter])
            except ValueError as fault:
                raise bad_field(f"value: {fault}") from fault
        case _:
            raise bad_field("value must be a decimal string or an integer")


def text_of(fields: Mapping[str, Any], name: str) -> str:
    """A field that must be text."""
    if not isinstance(fields[name], str):
        raise bad_field(f"{name} must be a string")
    return str(fields[name])


def optional_text(fields: Mapping[str, Any], name: str) -> str | None:
    """A field that is text or not there."""
    return None if fields.get(name) is None else text_of(fields, name)


def dimensions_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """The dimensions: strings by name."""
    given = fields.get("dimensions") or {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise bad_field("dimensions must be an object of strings")
    return given


def event_of(fields: Mapping[str, Any], scales: Mapping[str, int]) -> UsageEvent:
    """The event that an object states; LineFault when it states none."""
    missing = [name for name in REQUIRED if name not in fields]
    unknown = sorted(set(fields) - {*REQUIRED, *OPTIONAL})
    if missing or unknown:
        raise bad_field("; ".join([*(f"{name} is missing" for name in missing), *(f"{name} is not a known field" for name in unknown)]))
    meter = text_of(fields, "meter")
    try:
        event_time_ms = instant_ms(text_of(fields, "time"), utc_by_default=False)
    except ValueError as fault:
        raise fault if isinstance(fault, LineFault) else bad_field(f"time: {fault}") from fault
    event = UsageEvent(
        id=text_of(fields, "id"),
        source=text_of(fields, "source"),
        event_time_ms=event_time_ms,
        meter=meter,
        customer=text_of(fields, "customer"),
        quantity=quantity_of(fields["value"], meter, scales),
        reason=optional_text(fields, "reason"),
        corrects=optional_text(fields, "corrects"),
        dimensions=dimensions_of(fields),
    )
    refusal = check_fields(event)
    if refusal is not None:
        raise LineFault(refusal.reason, refusal.detail)
    return event


def json_object(text: str) -> Mapping[str, Any]:
    """One object of a JSON line; numbers with a fraction are kept apart from integers, a name said twice is refused."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise bad_field("a field is given twice")
        return dict(pairs)

    def whole(digits: str) -> int:
        if len(digits) > MOST_DIGITS:
            raise bad_field(f"a number of {len(digits)} digits is no quantity of ours")
        return int(digits)

    try:
        found = json.loads(text, parse_float=_Float, parse_int=whole, parse_constant=_Float, object_pairs_hook=once)
    except LineFault:
        raise
    except (ValueError, RecursionError) as fault:
        raise LineFault(RefusalReason.UNDECODABLE, f"not JSON: {fault}") from fault
    if not isinstance(found, dict):
        raise LineFault(RefusalReason.UNDECODABLE, "not a JSON object")
    return found


def read_jsonl(lines: Iterable[bytes], scales: Mapping[str, int]) -> Iterator[Accepted | RefusedLine]:
    """Every line that is not blank, as an event or as a refusal; a byte order mark at the front is passed over."""
    for number, raw in enumerate(lines, start=1):
        bare = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not bare.strip():
            continue
        try:
            yield Accepted(number, event_of(json_object(bare.decode("utf-8")), scales))
        except LineFault as fault:
            yield RefusedLine(number, str(fault.reason), fault.detail)
        except UnicodeDecodeError as fault:
            yield RefusedLine(number, str(RefusalReason.UNDECODABLE), f"not UTF-8: {fault.reason} at byte {fault.start}")


def shifted(results: Iterable[Accepted | RefusedLine], now_ms: int) -> list[Accepted | RefusedLine]:
    """The same events, moved in time so that the newest ends now."""
    kept = list(results)
    newest_ms = max((item.event.event_time_ms for item in kept if isinstance(item, Accepted)), default=now_ms)
    move_ms = now_ms - newest_ms
    return [
        replace(item, event=replace(item.event, event_time_ms=item.event.event_time_ms + move_ms)) if isinstance(item, Accepted) else item
        for item in kept
    ]
