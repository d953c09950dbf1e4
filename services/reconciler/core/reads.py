"""What is read when: as little as proves something, and everything once in a sweep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Stripe takes usage for 35 days back: an older hour changes no more.
STRIPE_REACH_MS = 35 * DAY_MS
MOST_PAUSE_MS = 15 * 60_000


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour that something was sent for and that no reading has settled."""

    hour_start_ms: int
    touched_at_ms: int | None  # the newest answer about it
    read_at_ms: int | None
    differs: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane as this room sees it."""

    lane_id: int
    settle_ms: int
    swept_at_ms: int | None  # when all its hours were last read
    hours: tuple[Hour, ...]


@dataclass(frozen=True, slots=True)
class LaneRead:
    """Read the hours [from, to) of a lane; `sweep` when these are all hours that can still change."""

    lane_id: int
    from_ms: int
    to_ms: int
    sweep: bool


def plan_reads(lanes: Iterable[Lane], now_ms: int, sweep_interval_ms: int) -> tuple[LaneRead, ...]:
    """Choose what is read now: one range a lane at most, from the first hour that needs it to the last."""
    reads = [_read_of(lane, now_ms, sweep_interval_ms) for lane in lanes]
    return tuple([read for read in reads if read is not None])


def _read_of(lane: Lane, now_ms: int, sweep_interval_ms: int) -> LaneRead | None:
    needed = [hour.hour_start_ms for hour in lane.hours if needs_reading(hour, lane.settle_ms, now_ms)]
    if lane.swept_at_ms is None or now_ms - lane.swept_at_ms >= sweep_interval_ms:
        return sweep_of(lane, now_ms)
    return LaneRead(lane.lane_id, min(needed), max(needed) + HOUR_MS, sweep=False) if needed else None


def sweep_of(lane: Lane, now_ms: int, from_ms: int | None = None, to_ms: int | None = None) -> LaneRead:
    """Read everything that can still change and everything that is not settled, or just the range that was asked for."""
    first = min([now_ms - STRIPE_REACH_MS, *[hour.hour_start_ms for hour in lane.hours]])
    start_ms, end_ms = reach(now_ms, first if from_ms is None else from_ms, to_ms)
    return LaneRead(lane.lane_id, start_ms, end_ms, sweep=from_ms is None and to_ms is None)


def reach(now_ms: int, from_ms: int | None = None, to_ms: int | None = None) -> tuple[int, int]:
    """Give the whole hours that can still change, or those of the range that was asked for."""
    start_ms = now_ms - STRIPE_REACH_MS if from_ms is None else from_ms
    end_ms = now_ms + HOUR_MS if to_ms is None else to_ms
    return hour_of(start_ms), -(-end_ms // HOUR_MS) * HOUR_MS


def needs_reading(hour: Hour, settle_ms: int, now_ms: int) -> bool:
    """Say whether an hour is read now: when its newest answer has settled and was not read since, or when it still differs."""
    if hour.touched_at_ms is None or now_ms < hour.touched_at_ms + settle_ms:
        return False
    if hour.read_at_ms is None or hour.read_at_ms < hour.touched_at_ms + settle_ms:
        return True
    return hour.differs and now_ms - hour.read_at_ms >= min(settle_ms, MOST_PAUSE_MS)


@dataclass(frozen=True, slots=True)
class Customer:
    """Whose subscriptions may be read."""

    customer: str
    read_at_ms: int | None
    subscriptions: int | None  # how many there were at the last reading


def customers_to_read(customers: Iterable[Customer], now_ms: int, sweep_ms: int, waiting_ms: int) -> tuple[str, ...]:
    """Choose whose subscriptions are read now: everybody's once a sweep, and sooner where none was found yet."""
    return tuple(
        [
            one.customer
            for one in customers
            if one.read_at_ms is None or now_ms - one.read_at_ms >= (sweep_ms if one.subscriptions else min(waiting_ms, sweep_ms))
        ]
    )


def hour_of(instant_ms: int) -> int:
    """Give the start of the UTC hour of an instant."""
    return instant_ms // HOUR_MS * HOUR_MS


def by_lane(hours: Sequence[tuple[int, Hour]]) -> dict[int, tuple[Hour, ...]]:
    """Sort hours to their lanes."""
    found: dict[int, list[Hour]] = defaultdict(list)
    for lane_id, hour in hours:
        found[lane_id].append(hour)
    return {lane_id: tuple(some) for lane_id, some in found.items()}
