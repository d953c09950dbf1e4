"""How the room stands, as one thread says it and another reads it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from services.dedupe.ports import Ends
from trueup.runtime.web import Activity, Health

STUCK_SECONDS = 40.0
"""Longer than any wait between two ticks: a loop that has not ticked for so long hangs."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One moment of the stream. It is replaced as a whole, so a reader never sees half of a change."""

    phase: str = "starting"
    ready: bool = False
    joined: bool = False  # the group has said what this worker owns, be it nothing
    busy: bool = False
    work: int = 0
    catalogue_version: int = 0
    ends: Mapping[int, int | None] = field(default_factory=dict)  # owned partitions: the end each was decided up to, if it was


class Board:
    """Where the stream's thread writes how it stands, and the web's threads read it."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.standing = Standing()
        self._ticked_at = time.monotonic()

    def tick(self) -> None:
        """The stream is alive."""
        self._ticked_at = time.monotonic()

    def say(self, **changes: object) -> None:
        """Replaces what changed."""
        self.standing = replace(self.standing, **changes)  # type: ignore[arg-type]
        self.tick()

    def live(self) -> Health:
        """Alive as long as the stream's loop goes round."""
        seconds = time.monotonic() - self._ticked_at
        return Health(seconds < STUCK_SECONDS, f"{self.standing.phase}; the stream ticked {seconds:.0f} s ago")

    def ready(self) -> Health:
        """Ready once the room reads, or would read if there were a catalogue."""
        return Health(self.standing.ready, self.standing.phase)


def activity(board: Board, ends: Ends) -> Callable[[], Activity]:
    """The question of the shared clock: has everything that was written by now been decided and committed?"""

    def asked() -> Activity:
        # First where the partitions end, then how the stream stands: the other way round, what arrived in between would go unseen.
        asked_for = tuple(board.standing.ends)
        highs = {partition: ends.bounds(partition)[1] for partition in asked_for}
        standing = board.standing
        owns = tuple([f"dedupe:{partition}" for partition in sorted(standing.ends)])
        why = _why_busy(standing, highs)
        return Activity(
            idle=not why, work=standing.work, next_due_ms=None, owns=owns, why=why or f"{standing.phase}; at the end of everything"
        )

    return asked


def _why_busy(standing: Standing, highs: Mapping[int, int]) -> str:
    if not standing.joined:
        return standing.phase
    if standing.busy:
        return "a batch is in hand"
    if set(standing.ends) != set(highs):
        return "the assignment is changing"
    for partition, high in highs.items():
        end = standing.ends[partition]
        if end is None or end < high:
            return f"partition {partition} was decided up to {end}, and ends at {high}"
    return ""
