"""The settler's rounds: reads from Stripe what became of intents that may not be sent again."""

from __future__ import annotations

from services.stripe_sink.core.dispatch_settle import Undecidable, settle
from services.stripe_sink.ports.stripe import MeterCalls
from trueup.contracts.quantities import summary_to_smallest
from trueup.ledger.intents import LaneHour, Reading
from trueup.ledger.store import deployment
from trueup.ledger.store.clock import now_ms
from trueup.ledger.store.deployment import Deployment
from trueup.ledger.store.dispatch import cuts, lanes, settlements
from trueup.ledger.store.session import Connection, Session
from trueup.runtime import log

LEASE_SECONDS = 30.0
HOUR_MS = 3_600_000


class Settler:
    """One round at a time; several sinks may run one each, since the lane's lease decides who reads."""

    def __init__(self, session: Session, meters: MeterCalls, holder: str) -> None:
        self._session = session
        self._meters = meters
        self._holder = holder
        self._log = log.get("dispatch").bind(holder=holder)

    def step(self) -> int:
        """Read every hour that is due; says how many were closed."""
        due, owner = self._session.run(_due)
        if due and owner is not None and self._meters.account() != owner:
            # Armed, this was compared; a disarmed ledger may be a copy that was given another account's key.
            self._log.warning("not settled: the key is not that of this ledger's account", account=str(owner))
            return 0
        return sum(self._settle(hour) for hour in due)

    def _settle(self, hour: LaneHour) -> bool:
        epoch = self._session.run(lambda connection: settlements.lease(connection, hour, self._holder, LEASE_SECONDS))
        if epoch is None:
            return False
        try:
            values = self._meters.summary_values(
                hour.stripe_customer, hour.stripe_event_name, hour.hour_start_ms, hour.hour_start_ms + HOUR_MS
            )
            stripe = sum(summary_to_smallest(value, hour.scale) for value in values)
            return self._session.run(lambda connection: settlements.read(connection, hour, epoch, stripe, self._decide, self._holder))
        finally:
            self._session.run(lambda connection: lanes.free(connection, hour.lane_id, epoch))

    def _decide(self, reading: Reading) -> settlements.Verdict:
        found = settle(reading.unknown, acknowledged=reading.acknowledged, stripe=reading.stripe)
        if isinstance(found, Undecidable):
            self._log.error("halt", why=found.reason, acknowledged=reading.acknowledged, stripe=reading.stripe)
            return settlements.Verdict((), found.reason)
        return settlements.Verdict(found.landed)


def _due(connection: Connection) -> tuple[list[LaneHour], Deployment | None]:
    """What is to be read now, and for whose account that must be asked first: nobody's while dispatch is armed."""
    hours = settlements.hours(connection)
    if not hours:
        return [], None
    now = now_ms(connection)
    armed = cuts.state(connection).armed
    return [hour for hour in hours if hour.due_ms <= now], None if armed else deployment.held(connection)
