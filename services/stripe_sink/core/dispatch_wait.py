"""How long a lane waits after an answer that settled nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackOff:
    """Doubling from the first wait to the longest, each shortened by up to half so that lanes do not march in step."""

    first_seconds: float = 0.25
    longest_seconds: float = 30.0

    def seconds(self, failures: int, chance: float) -> float:
        """The wait after so many failures in a row (1 is the first); `chance` in [0, 1) comes from the caller."""
        full = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 30))
        return full * (1.0 - chance / 2.0)


# A cut takes the barrier from everybody who captures: with nothing due, one every two seconds is enough to keep the look short.
BETWEEN_CUTS_SECONDS = 2.0
MOST_BATCHES_UNCUT = 10_000


def should_cut(*, newest_batch: int, discovered_through: int, fresh_due_ms: int | None, now_ms: int, seconds_since_cut: float) -> bool:
    """Whether to cut now: at once when something new is due, else just often enough that little lies behind the last cut."""
    if newest_batch <= discovered_through:
        return False
    if fresh_due_ms is None:
        return newest_batch - discovered_through > MOST_BATCHES_UNCUT
    return fresh_due_ms <= now_ms or seconds_since_cut >= BETWEEN_CUTS_SECONDS
