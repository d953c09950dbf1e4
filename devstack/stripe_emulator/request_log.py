"""What was asked and what was answered, for tests: counts of everything, and the newest requests one by one."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

_KEPT = 20_000


@dataclass(slots=True)
class Entry:
    """One request and what became of it."""

    number: int
    at_ms: int
    method: str
    path: str
    endpoint: str = "unknown"
    parameters: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    fault: str | None = None
    replayed: bool = False
    executed: bool = False
    outcome: str = "in_flight"
    message: str | None = None


class RequestLog:
    """Counts by endpoint and outcome since this process began, and the newest entries."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._number = 0

    def open(self, method: str, path: str, at_ms: int) -> Entry:
        """Note that a request came in."""
        self._number += 1
        entry = Entry(self._number, at_ms, method, path)
        self._entries.append(entry)
        return entry

    def close(self, entry: Entry, outcome: str) -> None:
        """Note how it ended: the status as text, or ``dropped``."""
        entry.outcome = outcome
        self._counts[entry.endpoint, outcome] += 1

    def shown(self, path: str | None, after: int, limit: int) -> dict[str, Any]:
        """Show the counts and the newest entries, of one path or of all, after a number."""
        counts: dict[str, dict[str, int]] = {}
        for (endpoint, outcome), count in sorted(self._counts.items()):
            counts.setdefault(endpoint, {})[outcome] = count
        chosen = [entry for entry in self._entries if entry.number > after and path in (None, entry.path)]
        return {"total": self._number, "counts": counts, "requests": [asdict(entry) for entry in chosen[-limit:]] if limit else []}
