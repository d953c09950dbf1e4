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
