"""Half-open windows of event time, and what late means."""

from collections.abc import Iterable
from dataclasses import dataclass

from trueup.contracts.meters import Meter

FUTURE_TOLERANCE_MS = 300_000
"""A producer's clock may run this far ahead of the broker's before its events are refused."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A window [start, end) of event time: its start belongs to it, its end does not."""

    start_ms: int
    end_ms: int


def segment_of(event_time_ms: int, roll_up_seconds: int, boundaries_ms: Iterable[int] = ()) -> Segment:
    """Find the roll-up window of an instant, cut at every boundary inside it; an instant on a boundary belongs to the later part."""
    width_ms = roll_up_seconds * 1000
    start_ms = event_time_ms // width_ms * width_ms
    end_ms = start_ms + width_ms
    for boundary_ms in boundaries_ms:
        if boundary_ms <= event_time_ms:
            start_ms = max(start_ms, boundary_ms)
        else:
            end_ms = min(end_ms, boundary_ms)
    return Segment(start_ms, end_ms)


def late_by_ms(event_time_ms: int, arrival_ms: int, meter: Meter) -> int:
    """Say by how much an event missed its meter's billing window; 0 when it did not."""
    return max(0, arrival_ms - event_time_ms - meter.billing_window_seconds * 1000)


def is_late(event_time_ms: int, arrival_ms: int, meter: Meter) -> bool:
    """Say whether an event arrived after its meter's billing window: one that took exactly the window is on time."""
    return arrival_ms - event_time_ms > meter.billing_window_seconds * 1000


def is_in_future(event_time_ms: int, arrival_ms: int) -> bool:
    """Say whether an event claims to have happened further ahead of its arrival than clocks may differ."""
    return event_time_ms - arrival_ms > FUTURE_TOLERANCE_MS
