"""How a meter turns events into one number: its formula, its window, and what is visible by now."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from devstack.stripe_emulator.books import HOUR_SECONDS, ZERO, Aggregate, Event, Lane, Visible, exact_sum, lag_fraction
from devstack.stripe_emulator.switches import Switches

_WINDOW_SECONDS = {"hour": HOUR_SECONDS, "day": 24 * HOUR_SECONDS}


def visibility(switches: Switches, now_ms: int) -> Visible:
    """Make the test of whether Stripe has aggregated an event by now."""
    shortest_ms = switches.aggregation_lag_minimum_seconds * 1000
    spread_ms = max(switches.aggregation_lag_maximum_seconds * 1000 - shortest_ms, 0.0)

    def visible(event: Event) -> bool:
        lag_ms = shortest_ms + spread_ms * lag_fraction(switches.aggregation_seed, event.identifier, event.received_ms)
        return event.received_ms + lag_ms <= now_ms

    return visible


def value_of(meter: dict[str, Any], lane: Lane | None, start: int, end: int, visible: Visible, last_ordering: str) -> Decimal | None:
    """Give the aggregated value of [start, end), or None where no event is visible in it."""
    if lane is None:
        return None
    formula = meter["default_aggregation"]["formula"]
    window = meter["event_time_window"]
    listed = formula == "last" or window is not None
    total = lane.aggregate(start, end, visible, listed=listed)
    if total.count == 0:
        return None
    return _apply(formula, window, total, last_ordering)


def received_value(meter: dict[str, Any], lane: Lane | None, start: int, end: int, before_ms: int | None, last_ordering: str) -> Decimal:
    """Give the value of everything received in [start, end) before an instant, aggregated or not."""
    if lane is None:
        return ZERO
    formula, window = meter["default_aggregation"]["formula"], meter["event_time_window"]
    total = lane.received(start, end, before_ms, listed=formula == "last" or window is not None)
    return _apply(formula, window, total, last_ordering) if total.count else ZERO


def counted_value(meter: dict[str, Any], events: list[Event], last_ordering: str) -> Decimal:
    """Give what a list of events amounts to, visible or not."""
    total = Aggregate(len(events), exact_sum(event.value for event in events), events)
    return _apply(meter["default_aggregation"]["formula"], meter["event_time_window"], total, last_ordering)


def _apply(formula: str, window: str | None, total: Aggregate, last_ordering: str) -> Decimal:
    if window is None and formula == "sum":
        return total.sum
    if window is None and formula == "count":
        return Decimal(total.count)
    kept = total.events if window is None else list(_latest_received(total.events, _WINDOW_SECONDS[window]))
    if formula == "sum":
        return exact_sum(event.value for event in kept)
    if formula == "count":
        return Decimal(len(kept))
    if not kept:
        return ZERO
    if last_ordering == "received":
        return max(kept, key=lambda event: event.number).value
    return max(kept, key=lambda event: (event.timestamp, event.number)).value


def _latest_received(events: list[Event], window_seconds: int) -> Iterable[Event]:
    """Keep of each window only the event that was received last: a pre-aggregated meter overwrites."""
    latest: dict[int, Event] = {}
    for event in sorted(events, key=lambda event: event.number):
        latest[event.timestamp // window_seconds] = event
    return latest.values()
