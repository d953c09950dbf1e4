"""When rounds are made: at whole multiples of an interval, so that a shared clock has few dates to stop at."""

from __future__ import annotations

from dataclasses import dataclass

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often is read, and how old a stored reading may get."""

    round_seconds: int
    sweep_seconds: int

    @property
    def read_age_seconds(self) -> int:
        """A stored reading older than this proves nothing: two sweeps and a round were missed."""
        return 2 * self.sweep_seconds + self.round_seconds

    @property
    def subscriptions_seconds(self) -> int:
        """How long a customer without a subscription is left alone: one may be made at any time, and usage waits for it."""
        return max(self.round_seconds, 60)

    def next_round_ms(self, now_ms: int) -> int:
        """Give the first date after now at which a round is due."""
        interval_ms = self.round_seconds * 1_000
        return (now_ms // interval_ms + 1) * interval_ms


def rhythm(*, simulated: bool, round_seconds: int | None, sweep_seconds: int | None) -> Rhythm:
    """Give the rhythm: what was configured, else seconds with the system clock and a day with a simulated one."""
    usual_round = DAY_SECONDS if simulated else 5
    usual_sweep = 3 * DAY_SECONDS if simulated else DAY_SECONDS
    return Rhythm(round_seconds or usual_round, sweep_seconds or usual_sweep)
