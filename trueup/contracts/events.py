"""The fact that a service publishes, and what can become of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

LONGEST_NAME = 255
QUANTITY_LIMIT = 10**15
"""Quantities stay below this on either side of zero: Stripe takes 15 digits, and a float still holds each of them exactly."""


class Outcome(StrEnum):
    """Where an event ended; each ends in exactly one of these."""

    ON_TIME = "on_time"
    LATE = "late"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REFUSED = "refused"


class RefusalReason(StrEnum):
    """Why an event was refused: a closed list."""

    UNDECODABLE = "undecodable"
    TOO_LARGE = "too_large"
    UNKNOWN_SCHEMA = "unknown_schema"
    UNKNOWN_METER = "unknown_meter"
    BAD_FIELD = "bad_field"
    NEGATIVE_WITHOUT_REASON = "negative_without_reason"
    TIME_IN_FUTURE = "time_in_future"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A verdict on bytes or on an event: the reason, the field it is about, and a sentence for a person."""

    reason: RefusalReason
    field: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One metered fact, as read from the wire; `quantity` is in the meter's smallest unit."""

    id: str
    source: str
    event_time_ms: int
    meter: str
    customer: str
    quantity: int
    reason: str | None
    corrects: str | None
    dimensions: Mapping[str, str]


def check_fields(event: UsageEvent) -> Refusal | None:
    """Judge the fields by themselves, without catalogue or clock; None when all are fit to be stored and billed."""
    name = _name_fault("id", event.id) or _name_fault("source", event.source)
    name = name or _name_fault("meter", event.meter) or _name_fault("customer", event.customer)
    if name is not None:
        return name
    if event.event_time_ms < 0:
        return _bad_field("event_time", "the event time lies before 1970")
    if not -QUANTITY_LIMIT < event.quantity < QUANTITY_LIMIT:
        return _bad_field("quantity", f"the quantity {event.quantity} has more than 15 digits")
    return _correction_fault(event) or _dimension_fault(event.dimensions)


def _name_fault(field: str, text: str) -> Refusal | None:
    if 0 < len(text) <= LONGEST_NAME and "\0" not in text:
        return None
    if "\0" in text:
        return _bad_field(field, f"{field} contains a NUL character")
    return _bad_field(field, f"{field} has {len(text)} characters; 1 to {LONGEST_NAME} are allowed")


def _correction_fault(event: UsageEvent) -> Refusal | None:
    if event.reason is not None and "\0" in event.reason:
        return _bad_field("reason", "reason contains a NUL character")
    if event.corrects is not None:
        fault = _name_fault("corrects", event.corrects)
        if fault is not None:
            return fault
        if event.quantity >= 0:
            return _bad_field("corrects", "only a negative quantity can take another event back")
    if event.quantity < 0 and (event.reason is None or not event.reason.strip()):
        return Refusal(RefusalReason.NEGATIVE_WITHOUT_REASON, "reason", f"the quantity is {event.quantity} and no reason is given")
    return None


def _dimension_fault(dimensions: Mapping[str, str]) -> Refusal | None:
    for name, value in dimensions.items():
        if "\0" in name or "\0" in value:
            return _bad_field("dimensions", "a dimension contains a NUL character")
    return None


def _bad_field(field: str, detail: str) -> Refusal:
    return Refusal(RefusalReason.BAD_FIELD, field, detail)
