"""The settler's rounds: reads from Stripe what became of intents that may not be sent again."""

from __future__ import annotations

from services.stripe_sink.core.dispatch_settle import Undecidable, settle
from services.stripe_sink.ports.stripe import MeterCalls
from trueup.contracts.quantities import summary_to_smallest
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.intents import LARGEST_VALUE, LaneHour, Reading
from trueup.ledger.store.clock import now_ms
from trueup.ledger.store.dispatch import lanes, settlements
from trueup.ledger.store.session import Connection, Session
from trueup.runtime import log

MINUTE_MS = 60_000
HOUR_MS = 3_600_000


class Settler:
    """One round at a time; several sinks may run one each, since the lane's lease decides who reads."""

    def __init__(self, session: Session, meters: MeterCalls, own: OwnAccount, holder: str, lease_seconds: float) -> None:
        self._session = session
        self._meters = meters
        self._own = own
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._log = log.get("dispatch").bind(holder=holder)

    def step(self) -> int:
        """Read every hour that is due; says how many were closed."""
        due = self._session.run(_due)
        # Another account's summaries are empty, and would make everything that is unknown look lost.
        if not due or self._own.confirmed(self._session) is None:
            return 0
        return sum(self._settle(hour) for hour in due)

    def _settle(self, hour: LaneHour) -> bool:
        epoch = self._session.run(lambda connection: settlements.lease(connection, hour, self._holder, self._lease_seconds))
        if epoch is None:
            return False
        try:
            stripe = self._summary(hour, epoch)
            if stripe is None:
                return False
            return self._session.run(lambda connection: settlements.read(connection, hour, epoch, stripe, self._decide, self._holder))
        finally:
            self._session.run(lambda connection: lanes.free(connection, hour.lane_id, epoch))

    def _summary(self, hour: LaneHour, epoch: int) -> int | None:
        """What Stripe shows of an hour. One float does not show more than 15 digits exactly; then it is asked for minute by minute.

        That takes longer than a lease, which is short so that others soon go on where this process stands still: it is renewed
        before each minute. None when the lane has become somebody else's.
        """
        whole = self._shown(hour, hour.hour_start_ms, hour.hour_start_ms + HOUR_MS)
        if abs(whole) <= LARGEST_VALUE:
            return whole
        total = 0
        for start_ms in range(hour.hour_start_ms, hour.hour_start_ms + HOUR_MS, MINUTE_MS):
            if not self._session.run(lambda connection: settlements.renew(connection, hour, epoch, self._lease_seconds)):
                return None
            total += self._shown(hour, start_ms, start_ms + MINUTE_MS)
        return total

    def _shown(self, hour: LaneHour, start_ms: int, end_ms: int) -> int:
        values = self._meters.summary_values(hour.stripe_customer, hour.stripe_event_name, start_ms, end_ms)
        return sum(summary_to_smallest(value, hour.scale) for value in values)

    def _decide(self, reading: Reading) -> settlements.Verdict:
        found = settle(reading.unknown, acknowledged=reading.acknowledged, stripe=reading.stripe)
        if isinstance(found, Undecidable):
            self._log.error("halt", why=found.reason, acknowledged=reading.acknowledged, stripe=reading.stripe)
            return settlements.Verdict((), found.reason)
        return settlements.Verdict(found.landed)


def _due(connection: Connection) -> list[LaneHour]:
    """What is to be read now."""
    hours = settlements.hours(connection)
    if not hours:
        return []
    now = now_ms(connection)
    return [hour for hour in hours if hour.due_ms <= now]
