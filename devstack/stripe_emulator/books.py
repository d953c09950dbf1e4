"""What the emulator counted: every accepted meter event, by meter, customer and hour, with running totals.

A summary reads whole hours from totals and looks at single events only at the ragged ends of a range. An event is
counted in the books at once and *visible* in summaries and invoices only when its own aggregation lag has passed,
which is worked out when someone reads.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact

HOUR_SECONDS = 3600
ZERO = Decimal(0)
# Values have at most 15 significant digits and at most 100 characters: sums stay exact here, and what would not be raises.
EXACT = Context(prec=200, traps=[Inexact])

Visible = Callable[["Event"], bool]


@dataclass(frozen=True, slots=True)
class Event:
    """One meter event that Stripe counts."""

    identifier: str
    value: Decimal
    timestamp: int
    received_ms: int
    number: int


@dataclass(slots=True)
class Hour:
    """The events of one customer and meter within one hour of event time."""

    settled: list[Event] = field(default_factory=list)
    pending: list[Event] = field(default_factory=list)
    settled_sum: Decimal = ZERO
    received_sum: Decimal = ZERO
    newest_received_ms: int = 0

    def add(self, event: Event) -> None:
        """Count an event; it stays pending until its lag has passed."""
        self.pending.append(event)
        self.received_sum = EXACT.add(self.received_sum, event.value)
        self.newest_received_ms = max(self.newest_received_ms, event.received_ms)

    def everything(self) -> list[Event]:
        """List what was received, aggregated or not."""
        return [*self.settled, *self.pending]

    def settle(self, visible: Visible) -> None:
        """Move what has become visible; what was seen once is never unseen."""
        if not self.pending:
            return
        waiting = []
        for event in self.pending:
            if visible(event):
                self.settled.append(event)
                self.settled_sum = EXACT.add(self.settled_sum, event.value)
            else:
                waiting.append(event)
        self.pending = waiting


@dataclass(slots=True)
class Aggregate:
    """What a range of one lane amounts to; ``events`` are listed only for formulas that need each of them."""

    count: int = 0
    sum: Decimal = ZERO
    events: list[Event] = field(default_factory=list)


class Lane:
    """All counted events of one customer on one meter."""

    def __init__(self) -> None:
        self._hours: dict[int, Hour] = {}
        self._starts: list[int] = []

    def add(self, event: Event) -> None:
        """Count an event in its hour."""
        start = event.timestamp - event.timestamp % HOUR_SECONDS
        hour = self._hours.get(start)
        if hour is None:
            hour = self._hours[start] = Hour()
            bisect.insort(self._starts, start)
        hour.add(event)

    def hours(self) -> Iterable[tuple[int, Hour]]:
        """Give the hours that hold something, oldest first."""
        return ((start, self._hours[start]) for start in self._starts)

    def aggregate(self, start: int, end: int, visible: Visible, *, listed: bool = False) -> Aggregate:
        """Add up what is visible in [start, end), in seconds."""
        total = Aggregate()
        first = bisect.bisect_left(self._starts, start - start % HOUR_SECONDS)
        last = bisect.bisect_left(self._starts, end)
        for hour_start in self._starts[first:last]:
            hour = self._hours[hour_start]
            hour.settle(visible)
            if start <= hour_start and hour_start + HOUR_SECONDS <= end:
                inside, inside_sum = hour.settled, hour.settled_sum
            else:
                inside = [event for event in hour.settled if start <= event.timestamp < end]
                inside_sum = exact_sum(event.value for event in inside)
            total.count += len(inside)
            total.sum = EXACT.add(total.sum, inside_sum)
            if listed:
                total.events.extend(inside)
        return total

    def received(self, start: int, end: int, before_ms: int | None, *, listed: bool = False) -> Aggregate:
        """Add up what had been received in [start, end) before an instant, aggregated or not; of all time where there is none."""
        total = Aggregate()
        first = bisect.bisect_left(self._starts, start - start % HOUR_SECONDS)
        for hour_start in self._starts[first : bisect.bisect_left(self._starts, end)]:
            hour = self._hours[hour_start]
            whole = start <= hour_start and hour_start + HOUR_SECONDS <= end
            if whole and not listed and (before_ms is None or hour.newest_received_ms < before_ms):
                total.count += len(hour.settled) + len(hour.pending)
                total.sum = EXACT.add(total.sum, hour.received_sum)
                continue
            inside = [
                event
                for event in hour.everything()
                if start <= event.timestamp < end and (before_ms is None or event.received_ms < before_ms)
            ]
            total.count += len(inside)
            total.sum = EXACT.add(total.sum, exact_sum(event.value for event in inside))
            if listed:
                total.events.extend(inside)
        return total


class Books:
    """Every lane, by meter and customer."""

    def __init__(self) -> None:
        self._lanes: dict[str, dict[str, Lane]] = {}
        self._number = 0

    def count(self, meter: str, customer: str, identifier: str, value: Decimal, timestamp: int, received_ms: int) -> None:
        """Count one accepted event."""
        self._number += 1
        lane = self._lanes.setdefault(meter, {}).setdefault(customer, Lane())
        lane.add(Event(identifier, value, timestamp, received_ms, self._number))

    def lane(self, meter: str, customer: str) -> Lane | None:
        """Give a lane, or None where nothing was ever counted."""
        return self._lanes.get(meter, {}).get(customer)

    def lanes(self, meter: str) -> dict[str, Lane]:
        """Give the lanes of a meter by customer."""
        return self._lanes.get(meter, {})


def exact_sum(values: Iterable[Decimal]) -> Decimal:
    """Add without rounding."""
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return total


def lag_fraction(seed: int, identifier: str, received_ms: int) -> float:
    """Give the event's own share, in [0, 1), of the longest aggregation lag: seeded, and the same after a restart."""
    digest = hashlib.blake2b(f"{seed}:{identifier}:{received_ms}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def plain(value: Decimal) -> str:
    """Write a decimal in plain notation without needless zeros."""
    if value == 0:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
