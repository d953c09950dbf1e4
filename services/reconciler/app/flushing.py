"""Flushes end here: when nothing of one is open and Stripe's summaries show what was acknowledged."""

from __future__ import annotations

from collections.abc import Mapping

from services.reconciler.ports import SummaryReads
from trueup.contracts.errors import Transient
from trueup.contracts.quantities import summary_to_smallest
from trueup.ledger.store import customers, flush
from trueup.ledger.store.flush import FlushedLane, OpenFlush
from trueup.ledger.store.session import Session
from trueup.runtime import log

PERIOD_ENDED = "the billing period ended"


class Flushing:
    """Looks at open flushes; one that Stripe does not show yet is looked at again after a while."""

    def __init__(self, session: Session, stripe: SummaryReads, again_seconds: int) -> None:
        self._session = session
        self._stripe = stripe
        self._again_ms = again_seconds * 1_000
        self._not_before: dict[int, int] = {}
        self._log = log.get("flush")

    @property
    def next_due_ms(self) -> int | None:
        """When a flush is looked at again."""
        return min(self._not_before.values(), default=None)

    def step(self, now_ms: int) -> frozenset[str]:
        """Look at every flush that may be through; gives the Stripe customers whose are."""
        open_now = self._session.run(flush.open_flushes)
        self._not_before = {one.flush_id: self._not_before[one.flush_id] for one in open_now if one.flush_id in self._not_before}
        ended = [self._end(one, now_ms) for one in open_now if self._not_before.get(one.flush_id, now_ms) <= now_ms]
        return frozenset([stripe_customer for stripe_customer in ended if stripe_customer is not None])

    def _end(self, one: OpenFlush, now_ms: int) -> str | None:
        found = self._session.run(lambda connection: flush.state(connection, one.flush_id))
        if found.open_quantities:
            return None
        stripe_customer = self._session.run(lambda connection: customers.resolve(connection, [one.customer]))[one.customer]
        # The close compares the whole period itself.
        if one.reason != PERIOD_ENDED and stripe_customer is not None and not self._shown(one):
            self._not_before[one.flush_id] = now_ms + self._again_ms
            return None
        self._session.run(lambda connection: flush.done(connection, one.flush_id))
        self._not_before.pop(one.flush_id, None)
        return stripe_customer

    def _shown(self, one: OpenFlush) -> bool:
        try:
            lanes = self._session.run(lambda connection: flush.lanes(connection, one.customer))
            meters = {name: meter_id for meter_id, name in self._stripe.event_names().items()} if lanes else {}
            return all(self._equal(lane, meters) for lane in lanes)
        except Transient as missing:
            self._log.warning(str(missing), flush=one.flush_id)
            return False

    def _equal(self, lane: FlushedLane, meters: Mapping[str, str]) -> bool:
        meter_id = meters.get(lane.stripe_event_name)
        if meter_id is None:
            return False
        value = self._stripe.total(meter_id, lane.stripe_customer, lane.from_ms, lane.to_ms)
        return summary_to_smallest(value, lane.scale) == self._session.run(lambda connection: flush.acknowledged(connection, lane))
