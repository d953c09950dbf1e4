"""Which records are refused, in the order in which the reasons are asked for."""

from __future__ import annotations

from collections.abc import Mapping

from services.dedupe.core.records import MAX_ENVELOPE_BYTES, Record, envelope_bytes
from trueup.contracts.catalogue import Meter
from trueup.contracts.events import Refusal, RefusalReason, UsageEvent, check_fields
from trueup.contracts.periods import is_in_future


def envelope_refusal(record: Record) -> Refusal | None:
    """Judges key and headers, which no schema limits."""
    if not record.headers and (record.key is None or len(record.key) <= MAX_ENVELOPE_BYTES):
        return None
    weight = envelope_bytes(record)
    if weight <= MAX_ENVELOPE_BYTES:
        return None
    return Refusal(RefusalReason.TOO_LARGE, None, f"key and headers have {weight} bytes; {MAX_ENVELOPE_BYTES} are allowed")


def event_refusal(event: UsageEvent, arrival_ms: int, meters: Mapping[str, Meter]) -> Refusal | None:
    """Judges a decoded event by itself, by the catalogue in force at its arrival, and by its arrival."""
    refusal = check_fields(event)
    if refusal is not None:
        return refusal
    if event.meter not in meters:
        return Refusal(RefusalReason.UNKNOWN_METER, "meter", f"the catalogue in force at its arrival has no meter {event.meter!r}")
    if is_in_future(event.event_time_ms, arrival_ms):
        ahead_ms = event.event_time_ms - arrival_ms
        return Refusal(RefusalReason.TIME_IN_FUTURE, "event_time", f"the event time lies {ahead_ms} ms ahead of its arrival")
    return None
