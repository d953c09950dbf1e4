"""Which billing periods captured usage belongs to, and who is never billed: kept in memory, looked up again when it changed."""

from __future__ import annotations

import time

from services.stripe_sink.core.capture_destination import Closing
from trueup.contracts.periods import Calendar
from trueup.ledger.store import customers, periods
from trueup.ledger.store.session import Session

# Numbers are given before they are committed: a fact with a lower one may become visible after a higher one was seen.
FORGET_SECONDS = 5.0


class CaptureClosing:
    """The periods of every customer's meter that was asked for, as of one version, and the customers who are never billed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._version: tuple[int, ...] = ()
        self._calendars: dict[tuple[str, str], Calendar] = {}
        self._forget_at = 0.0
        self._never_billed: frozenset[str] = frozenset()
        self._newest_never_billed = 0

    def known(self, subjects: set[tuple[str, str]]) -> Closing:
        """What is known now: one cheap question a batch, and one more for whoever was not asked for yet."""
        standing = self._session.run(periods.standing)
        if standing.version != self._version or time.monotonic() >= self._forget_at:
            self._calendars.clear()
            self._version = standing.version
            self._forget_at = time.monotonic() + FORGET_SECONDS
        # Their numbers are given under a lock that is held to the commit: with the newest one all before it are seen.
        if standing.newest_never_billed != self._newest_never_billed:
            self._never_billed = frozenset(row.customer for row in self._session.run(customers.never_billed))
            self._newest_never_billed = standing.newest_never_billed
        missing = subjects - self._calendars.keys() if standing.any_period else set()
        if missing:
            self._calendars |= self._session.run(lambda connection: periods.calendars(connection, missing))
        return Closing(standing.now_ms, self._calendars, self._never_billed)
