"""Which events are still to be told to which webhook endpoints, and when the next attempt is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devstack.stripe_emulator.agenda import Agenda, Due


@dataclass(slots=True)
class Delivery:
    """One event on its way to one endpoint."""

    event: str
    endpoint: str
    first_due_ms: int
    attempts: int = 0
    due_ms: int | None = None
    delivered_ms: int | None = None
    failure: str | None = None


class Deliveries:
    """All deliveries, delivered or not."""

    def __init__(self) -> None:
        self._by_event: dict[str, dict[str, Delivery]] = {}
        self._agenda = Agenda()
        self.attempts = 0

    def order(self, event: str, endpoint: str, due_ms: int) -> None:
        """Order the first attempt."""
        self._by_event.setdefault(event, {})[endpoint] = Delivery(event, endpoint, due_ms, due_ms=due_ms)
        self._agenda.put(event, endpoint, due_ms)

    def attempted(self, record: dict[str, Any]) -> None:
        """Note what became of an attempt; ``next_ms`` is the next one, if there is one."""
        delivery = self._by_event[record["event"]][record["endpoint"]]
        delivery.attempts += 1
        self.attempts += 1
        delivery.due_ms, delivery.failure = record["next_ms"], record["failure"]
        if record["failure"] is None and delivery.delivered_ms is None:
            delivery.delivered_ms = record["at_ms"]
        self._agenda.put(delivery.event, delivery.endpoint, delivery.due_ms)

    def of(self, event: str) -> list[Delivery]:
        """List the deliveries of an event."""
        return list(self._by_event.get(event, {}).values())

    def one(self, event: str, endpoint: str) -> Delivery:
        """Give one delivery."""
        return self._by_event[event][endpoint]

    def pending(self, event: str) -> int:
        """Count the endpoints that have not answered yet and will be asked again."""
        return sum(1 for delivery in self.of(event) if delivery.due_ms is not None)

    def first(self) -> Due | None:
        """Give the attempt that falls due first."""
        return self._agenda.first()

    def due_at(self, at_ms: int) -> list[Delivery]:
        """List the attempts that are due at one date, in order."""
        return [self._by_event[due.kind][due.identifier] for due in self._agenda.until(at_ms) if due.at_ms == at_ms]

    def waiting(self, now_ms: int) -> int:
        """Count the attempts that are due."""
        return self._agenda.count(now_ms)
