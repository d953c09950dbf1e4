"""One event as JSON spells it → the fact that travels, or every fault in it with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trueup.contracts.catalogue import Catalogue, Meter
from trueup.contracts.events import LONGEST_NAME, QUANTITY_LIMIT, RefusalReason, UsageEvent, check_fields
from trueup.contracts.instants import milliseconds
from trueup.contracts.json_text import Inexact
from trueup.contracts.periods import FUTURE_TOLERANCE_MS
from trueup.contracts.problems import Fault, is_text, quote, step
from trueup.contracts.quantities import from_decimal_text

REQUIRED = ("id", "source", "customer", "meter", "value", "time")
OPTIONAL = ("reason", "corrects", "dimensions")
NAMES = ("id", "source", "customer", "meter")
# What the record calls these, and what the door does.
_RECORD_TO_DOOR = {"event_time": "time", "quantity": "value"}
BAD_FIELD = RefusalReason.BAD_FIELD.value


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it was sent: its members, and where each stands when that is not under `pointer`."""

    pointer: str
    members: object
    elsewhere: Mapping[str, str]

    def place(self, name: str) -> str:
        """The pointer to a member."""
        return self.elsewhere.get(name) or step(self.pointer, name)


@dataclass(frozen=True, slots=True)
class InForce:
    """What decides whether an event can be taken: the catalogue and the date."""

    catalogue: Catalogue
    now_ms: int


def read_event(entry: Entry, in_force: InForce) -> UsageEvent | tuple[Fault, ...]:
    """Read one event; all its faults at once, so that a client mends them in one go."""
    members = entry.members
    if not isinstance(members, dict):
        return (Fault(entry.pointer, BAD_FIELD, "an event is a JSON object"),)
    faults = [*_shape_faults(entry, members), *_text_faults(entry, members), *_dimension_faults(entry, members)]
    meter = _meter(members, in_force.catalogue)
    if isinstance(members.get("meter"), str) and meter is None:
        detail = f"the catalogue in force has no meter {quote(members['meter'])}"
        faults.append(Fault(entry.place("meter"), RefusalReason.UNKNOWN_METER.value, detail))
    quantity = _quantity(members.get("value"), meter)
    if isinstance(quantity, str) and "value" in members:
        faults.append(Fault(entry.place("value"), BAD_FIELD, quantity))
    time_ms, time_fault = _time(entry, members, in_force.now_ms)
    faults += time_fault
    if faults or not isinstance(quantity, int):
        return tuple(faults)
    return _event(entry, members, quantity, time_ms)


def _event(entry: Entry, members: Mapping[str, Any], quantity: int, time_ms: int) -> UsageEvent | tuple[Fault, ...]:
    event = UsageEvent(
        members["id"],
        members["source"],
        time_ms,
        members["meter"],
        members["customer"],
        quantity,
        members.get("reason"),
        members.get("corrects"),
        members.get("dimensions") or {},
    )
    refusal = check_fields(event)
    if refusal is None:
        return event
    name = _RECORD_TO_DOOR.get(refusal.field or "", refusal.field)
    return (Fault(entry.place(name) if name else entry.pointer, refusal.reason.value, refusal.detail),)


def _shape_faults(entry: Entry, members: Mapping[str, Any]) -> Iterator[Fault]:
    for name in REQUIRED:
        if name not in members:
            yield Fault(entry.place(name), BAD_FIELD, f"{name} is missing")
    for name in members:
        if name not in REQUIRED and name not in OPTIONAL:
            yield Fault(entry.place(name), BAD_FIELD, f"an event has no {quote(name)}; it has {', '.join((*REQUIRED, *OPTIONAL))}")


def _text_faults(entry: Entry, members: Mapping[str, Any]) -> Iterator[Fault]:
    for name in (*NAMES, "reason", "corrects"):
        text = members.get(name)
        if name not in members or (text is None and name not in NAMES):
            continue
        if not isinstance(text, str) or isinstance(text, Inexact):
            yield Fault(entry.place(name), BAD_FIELD, f"{name} is a string")
        elif "\0" in text or not is_text(text):
            yield Fault(entry.place(name), BAD_FIELD, f"{name} contains a character that is no text")
        elif name != "reason" and not 0 < len(text) <= LONGEST_NAME:
            yield Fault(entry.place(name), BAD_FIELD, f"{name} has {len(text)} characters; 1 to {LONGEST_NAME} are allowed")


def _dimension_faults(entry: Entry, members: Mapping[str, Any]) -> Iterator[Fault]:
    dimensions = members.get("dimensions")
    if dimensions is None:
        return
    if not isinstance(dimensions, dict):
        yield Fault(entry.place("dimensions"), BAD_FIELD, "dimensions are a JSON object of strings")
        return
    for name, value in dimensions.items():
        if not isinstance(value, str) or isinstance(value, Inexact):
            yield Fault(step(entry.place("dimensions"), name), BAD_FIELD, "a dimension is a string")
        elif "\0" in name or "\0" in value or not is_text(name) or not is_text(value):
            yield Fault(step(entry.place("dimensions"), name), BAD_FIELD, "a dimension contains a character that is no text")


def _meter(members: Mapping[str, Any], catalogue: Catalogue) -> Meter | None:
    name = members.get("meter")
    return catalogue.meters.get(name) if isinstance(name, str) else None


def _quantity(value: object, meter: Meter | None) -> int | str:
    """The value in the meter's smallest unit, or what is wrong with it."""
    match value:
        case bool():
            return "a value is a decimal string or an integer"
        case Inexact():
            return "a value is a decimal string or an integer, never a JSON float: floats lose digits"
        case int() if abs(value) >= QUANTITY_LIMIT:
            return "the value has more than 15 digits"
        case int():
            return value * int(10 ** (meter.scale if meter else 0))
        case str():
            try:
                return from_decimal_text(value, meter.scale) if meter else 0
            except ValueError:
                return _decimal_fault(value, meter.scale if meter else 0)
        case _:
            return "a value is a decimal string or an integer"


def _decimal_fault(text: str, scale: int) -> str:
    try:
        from_decimal_text(text, 40)
    except ValueError:
        return f"{quote(text)} is no plain decimal number"
    return f"{quote(text)} has more decimal places than the meter's {scale}"


def _time(entry: Entry, members: Mapping[str, Any], now_ms: int) -> tuple[int, tuple[Fault, ...]]:
    if "time" not in members:
        return 0, ()
    text = members["time"]
    place = entry.place("time")
    if not isinstance(text, str) or isinstance(text, Inexact):
        return 0, (Fault(place, BAD_FIELD, "time is a string: an RFC 3339 instant"),)
    try:
        time_ms = milliseconds(text)
    except (ValueError, OverflowError) as fault:
        return 0, (Fault(place, BAD_FIELD, f"{quote(text)} is no instant: {fault}"),)
    if time_ms < 0:
        return 0, (Fault(place, BAD_FIELD, "the event time lies before 1970"),)
    if time_ms - now_ms > FUTURE_TOLERANCE_MS:
        return 0, (Fault(place, RefusalReason.TIME_IN_FUTURE.value, f"{quote(text)} lies more than 5 minutes ahead"),)
    return time_ms, ()
