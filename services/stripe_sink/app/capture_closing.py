"""Which billing periods captured usage belongs to: kept in memory, and looked up again when anything about periods changed."""

from __future__ import annotations

import time

from services.stripe_sink.core.capture_destination import Closing
from trueup.contracts.periods import Calendar
from trueup.ledger.store import periods
from trueup.ledger.store.session import Session

# Numbers are given before they are committed: a fact with a lower one may become visible after a higher one was seen.
FORGET_SECONDS = 5.0


class CaptureClosing:
    """The periods of every customer's meter that was asked for, as of one version."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._version: tuple[int, ...] = ()
        self._calendars: dict[tuple[str, str], Calendar] = {}
        self._forget_at = 0.0

    def known(self, subjects: set[tuple[str, str]]) -> Closing:
        """What is known now: one cheap question a batch, and one more for whoever was not asked for yet."""
        standing = self._session.run(periods.standing)
        if standing.version != self._version or time.monotonic() >= self._forget_at:
            self._calendars.clear()
            self._version = standing.version
            self._forget_at = time.monotonic() + FORGET_SECONDS
        missing = subjects - self._calendars.keys() if standing.any_period else set()
        if missing:
            self._calendars |= self._session.run(lambda connection: periods.calendars(connection, missing))
        return Closing(standing.now_ms, self._calendars)
