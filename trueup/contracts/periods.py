"""Half-open windows of event time, and what late means."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """A billing period [start, end) of a subscription item, and until when its usage may be sent: the close margin is off already."""

    start_ms: int
    end_ms: int
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """The billing periods that count one customer's usage of one meter, and the customer's changes of plan, as far as they are known."""

    periods: tuple[BillingPeriod, ...] = ()
    changes_ms: tuple[int, ...] = ()
    boundaries_ms: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep every instant at which a period begins or ends, or a plan begins: segments are cut there."""
        edges = {edge for period in self.periods for edge in (period.start_ms, period.end_ms)} | set(self.changes_ms)
        object.__setattr__(self, "boundaries_ms", tuple(sorted(edges)))

    def deadline_ms(self, event_time_ms: int) -> int | None:
        """Until when usage of this instant may be sent; the earlier date where two items count it, None where no period is known."""
        return min(
            [period.deadline_ms for period in self.periods if period.start_ms <= event_time_ms < period.end_ms],
            default=None,
        )

    def boundaries_inside(self, start_ms: int, end_ms: int) -> tuple[int, ...]:
        """The boundaries that divide [start, end): those strictly inside."""
        first, last = bisect_right(self.boundaries_ms, start_ms), bisect_right(self.boundaries_ms, end_ms - 1)
        return self.boundaries_ms[first:last]


NO_PERIODS = Calendar()
