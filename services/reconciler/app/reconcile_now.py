"""What `trueup reconcile` asks for: everything read now, and the ledger beside it."""

from __future__ import annotations

from services.reconciler.adapters import StripeReader
from services.reconciler.app.reading import Reading
from services.reconciler.core.reads import Hour, Lane, by_lane, reach, sweep_of
from trueup.contracts.errors import Transient
from trueup.ledger.store import clock as ledger_clock
from trueup.ledger.store import reconciliation
from trueup.ledger.store.reconciliation import ReconciliationRow
from trueup.ledger.store.session import Session
from trueup.runtime.clock import clock_from
from trueup.runtime.settings import StreetSettings

READERS = 4


def reconcile_now(
    settings: StreetSettings, customer: str | None = None, from_ms: int | None = None, to_ms: int | None = None
) -> list[ReconciliationRow]:
    """Read everything now, whole or for one customer or range, and give finance.stripe_reconciliation of it.

    Transient when a reading went unanswered: what is shown would not be what Stripe says now. LookupError for a customer who has no
    Stripe customer: nothing would be compared.
    """
    session = Session(settings.postgres_dsn, "trueup-reconcile")
    stripe = StripeReader(settings.stripe_api_key, settings.stripe_url, clock_from(settings.clock))
    try:
        reading = Reading(session, stripe, READERS)
        now_ms = session.run(ledger_clock.now_ms)
        billed = session.run(lambda connection: reconciliation.billed_customers(connection, customer))
        if customer is not None and not billed:
            raise LookupError(f"{customer} has no Stripe customer: there is nothing to compare")
        outcome = reading.subscriptions(billed)
        lanes = {lane.lane_id: lane for lane in session.run(lambda connection: reconciliation.lanes(connection, customer))}
        found = session.run(reconciliation.open_hours)
        hours = by_lane([(hour.lane_id, Hour(hour.hour_start_ms, hour.touched_at_ms, hour.read_at_ms, hour.differs)) for hour in found])
        views = [Lane(lane.lane_id, 0, lane.read_at_ms, hours.get(lane.lane_id, ())) for lane in lanes.values()]
        outcome += reading.lanes([sweep_of(view, now_ms, from_ms, to_ms) for view in views], lanes)
        pairs = session.run(lambda connection: reconciliation.silent_pairs(connection, customer))
        outcome += reading.pairs(pairs, *reach(now_ms, from_ms, to_ms), full=from_ms is None and to_ms is None)
        if outcome.failures:
            raise Transient(f"{outcome.failures} of {outcome.reads} readings of Stripe went unanswered")
        return session.run(lambda connection: reconciliation.rows(connection, customer, from_ms, to_ms))
    finally:
        session.close()
