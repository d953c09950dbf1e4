"""Flushes end here: when nothing of one is open and Stripe's summaries show what was acknowledged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

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
        self._not_before: dict[OpenFlush, int] = {}
        self._log = log.get("flush")

    @property
    def next_due_ms(self) -> int | None:
        """When a flush is looked at again."""
        return min(self._not_before.values(), default=None)

    def step(self, now_ms: int) -> frozenset[str]:
        """Look at every flush that may be through; gives the Stripe customers whose are.

        One that is asked for again is looked at at once. Stripe is asked once for all flushes of a customer.
        """
        open_now = self._session.run(flush.open_flushes)
        self._not_before = {one: self._not_before[one] for one in open_now if one in self._not_before}
        by_customer: dict[str, list[OpenFlush]] = defaultdict(list)
        for one in open_now:
            if self._not_before.get(one, now_ms) <= now_ms:
                by_customer[one.customer].append(one)
        ended = [self._end(customer, flushes, now_ms) for customer, flushes in by_customer.items()]
        return frozenset([stripe_customer for stripe_customer in ended if stripe_customer is not None])

    def _end(self, customer: str, flushes: Sequence[OpenFlush], now_ms: int) -> str | None:
        # First what is through with all of them: a comparison says nothing of what is acknowledged behind it.
        through = [one for one in flushes if self._is_through(one)]
        if not through:
            return None
        stripe_customer = self._session.run(lambda connection: customers.resolve(connection, [customer]))[customer]
        # The close compares the whole period itself.
        asked = [one for one in through if one.reason != PERIOD_ENDED and stripe_customer is not None]
        if asked and not self._shown(customer, asked):
            self._not_before.update(dict.fromkeys(asked, now_ms + self._again_ms))
            through = [one for one in through if one not in asked]
        done = [self._done(one) for one in through]
        return stripe_customer if any(done) else None

    def _is_through(self, one: OpenFlush) -> bool:
        left = self._session.run(lambda connection: flush.left(connection, one))
        # A close does not wait for a person: nobody else asked for its flush, and it would stay open for good.
        return not left.open_quantities or (one.reason == PERIOD_ENDED and left.waits_for_a_person)

    def _done(self, one: OpenFlush) -> bool:
        self._not_before.pop(one, None)
        return self._session.run(lambda connection: flush.done(connection, one))

    def _shown(self, customer: str, asked: Sequence[OpenFlush]) -> bool:
        try:
            lanes = self._session.run(lambda connection: flush.lanes(connection, customer))
            meters = {name: meter_id for meter_id, name in self._stripe.event_names().items()} if lanes else {}
            equal = all(self._equal(lane, meters) for lane in lanes)
        except Transient as missing:
            self._log.warning(str(missing), flushes=[one.flush_id for one in asked])
            return False
        for one in [] if equal else asked:
            self._compared(one)
        return equal

    def _compared(self, one: OpenFlush) -> None:
        self._session.run(lambda connection: flush.compared(connection, one))

    def _equal(self, lane: FlushedLane, meters: Mapping[str, str]) -> bool:
        meter_id = meters.get(lane.stripe_event_name)
        if meter_id is None:
            return False
        value = self._stripe.total(meter_id, lane.stripe_customer, lane.from_ms, lane.to_ms)
        return summary_to_smallest(value, lane.scale) == self._session.run(lambda connection: flush.acknowledged(connection, lane))
