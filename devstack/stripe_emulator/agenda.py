"""What happens by itself, and when: one date for each object that has something ahead of it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """Something that falls due."""

    at_ms: int
    number: int
    kind: str
    identifier: str


class Agenda:
    """The next date of every object; equal dates come in the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[Due] = []
        self._standing: dict[tuple[str, str], Due] = {}
        self._number = 0

    def put(self, kind: str, identifier: str, at_ms: int | None) -> None:
        """Set the next date of an object, or that it has none."""
        key = (kind, identifier)
        found = self._standing.get(key)
        if found is not None and found.at_ms == at_ms:
            return
        self._standing.pop(key, None)
        if at_ms is None:
            return
        self._number += 1
        due = self._standing[key] = Due(at_ms, self._number, kind, identifier)
        heapq.heappush(self._heap, due)

    def first(self) -> Due | None:
        """Give what falls due first."""
        while self._heap:
            due = self._heap[0]
            if self._standing.get((due.kind, due.identifier)) is due:
                return due
            heapq.heappop(self._heap)
        return None

    def until(self, at_ms: int) -> list[Due]:
        """List everything due by an instant, in order."""
        return sorted(due for due in self._standing.values() if due.at_ms <= at_ms)

    def count(self, at_ms: int) -> int:
        """Count everything due by an instant."""
        return sum(due.at_ms <= at_ms for due in self._standing.values())
