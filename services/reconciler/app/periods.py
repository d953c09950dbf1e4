"""The period keeper: learns periods and invoices from Stripe, closes what has ended, and says by when it must look again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from services.reconciler.app.capturing import Capturing
from services.reconciler.app.flushing import PERIOD_ENDED
from services.reconciler.app.newest_catalogue import NewestCatalogue
from services.reconciler.core.closing import Change, Invoice, Period, PeriodInvoice, invoice_of, judge, next_look_ms
from services.reconciler.core.timeline import facts_of
from services.reconciler.metrics import READS
from services.reconciler.ports import PeriodReads
from trueup.contracts.errors import Transient
from trueup.contracts.plans import plan_of
from trueup.contracts.quantities import summary_to_smallest
from trueup.ledger.periods import PeriodEvent
from trueup.ledger.store import clock, flush, periods, plans, reconciliation
from trueup.ledger.store.periods import DuePeriod
from trueup.ledger.store.session import Connection, Session
from trueup.runtime import log
from trueup.runtime.metrics import Registry

T = TypeVar("T")
DAY_MS = 86_400_000
# Stripe takes usage for 35 days back, and a period may be that much older at its other end.
REACH_MS = 70 * DAY_MS
AGAIN_MS = 60_000


class Periods:
    """One look at a time; each can be cut off anywhere, since every fact has its own cause."""

    def __init__(
        self, session: Session, stripe: PeriodReads, capturing: Capturing, sweep_seconds: int, registry: Registry | None = None
    ) -> None:
        self._session = session
        self._stripe = stripe
        self._capturing = capturing
        self._sweep_ms = sweep_seconds * 1_000
        self._registry = registry
        self._event_names: Mapping[str, str] = {}
        self._catalogue = NewestCatalogue(session)
        self._log = log.get("periods")
        self._next_ms: dict[str, int] = {}
        self._awaits: dict[str, int] = {}
        self._unproved: dict[tuple[str, int], int] = {}
        self._began = False
        self.work = 0

    def next_due_ms(self) -> int | None:
        """The next date at which a customer is looked at by our own clock."""
        return min(self._next_ms.values(), default=None)

    @property
    def closing_deadline_ms(self) -> int | None:
        """The earliest date at which a period that ended, and is not provable yet, becomes final; None when there is none."""
        return min(self._unproved.values(), default=None)

    @property
    def why_waiting(self) -> str:
        """What a close waits for that nobody need be asked at Stripe; empty when nothing."""
        return self._capturing.why_waiting

    def capture(self, now_ms: int) -> set[str]:
        """Look whether the usage that closes wait for is captured; gives the customers who need not wait any longer."""
        through_ms = self._capturing.step(max(self._awaits.values(), default=None), now_ms)
        return set() if through_ms is None else {customer for customer, at_ms in self._awaits.items() if at_ms <= through_ms}

    def due(self, now_ms: int) -> list[str]:
        """Whose periods are looked at now. Whoever is not known yet is looked at once."""
        if not self._began:
            # Customers are mapped to others, and the periods of those before go on to their end.
            for stripe_customer in self._session.run(periods.unsettled):
                self._next_ms.setdefault(stripe_customer, now_ms)
            self._began = True
        for billed in self._session.run(reconciliation.billed_customers):
            self._next_ms.setdefault(billed.stripe_customer, now_ms)
        return [customer for customer, at_ms in self._next_ms.items() if at_ms <= now_ms]

    def look_at_all(self, now_ms: int) -> None:
        """Make everybody due: nothing that was looked at so far was read."""
        self._next_ms = dict.fromkeys(self._next_ms, now_ms)

    def look(self, stripe_customers: Collection[str], now_ms: int) -> int:
        """Look at customers; says how many could not be read. Those are looked at again in a minute."""
        failures = 0
        billed = {one.stripe_customer: one.customer for one in self._session.run(reconciliation.billed_customers)}
        for customer in sorted(stripe_customers):
            self.work += 1
            try:
                self._next_ms[customer] = self._look(customer, billed.get(customer), now_ms)
                self._count("answered")
            except Transient as missing:
                failures += 1
                self._count("failed")
                self._log.warning(str(missing), stripe_customer=customer)
                self._next_ms[customer] = now_ms + AGAIN_MS
        return failures

    def _look(self, stripe_customer: str, customer: str | None, now_ms: int) -> int:
        """Learn and judge. What Stripe does not answer holds up no deadline: periods are judged by what is known, then it is told."""
        unread: list[Transient] = []
        nothing_ended: Mapping[str, int] = {}
        ended_ms = _answer(lambda: self._learn(stripe_customer, customer, now_ms), nothing_ended, unread)
        found = self._due(stripe_customer)
        if self._await(stripe_customer, found, now_ms) and stripe_customer in self.capture(now_ms):
            found = self._due(stripe_customer)
            self._await(stripe_customer, found, now_ms)
        ended = [period for period in found if period.end_ms <= now_ms]
        invoices: Sequence[PeriodInvoice] = ()
        if ended:
            since_ms = min(period.end_ms for period in ended) - DAY_MS
            invoices = _answer(lambda: self._stripe.invoices(stripe_customer, since_ms), (), unread)
        nexts = [self._close(period, _billed_by(period, invoices, now_ms), now_ms, _over(period, ended_ms), unread) for period in found]
        if unread:
            raise unread[0]
        # A period that ended and whose successor is not known yet: Stripe was asked a moment too soon.
        known_end_ms = max([period.end_ms for period in found], default=None)
        if known_end_ms is not None and known_end_ms <= now_ms < known_end_ms + 10 * AGAIN_MS:
            nexts.append(now_ms + AGAIN_MS)
        # A new subscription, or a change of one, that no webhook told is found by the sweep.
        return min([at_ms for at_ms in nexts if at_ms is not None] + [(now_ms // self._sweep_ms + 1) * self._sweep_ms])

    def _due(self, stripe_customer: str) -> list[DuePeriod]:
        return self._session.run(lambda connection: periods.due(connection, [stripe_customer]))

    def _await(self, stripe_customer: str, found: Sequence[DuePeriod], now_ms: int) -> bool:
        """Note up to when usage must be captured that this customer's ended periods wait for; says whether any does."""
        waiting = [
            one.captured_by_ms for one in found if not one.captured and one.captured_by_ms <= now_ms and one.status != "not_provable"
        ]
        if waiting:
            self._awaits[stripe_customer] = max(waiting)
        else:
            self._awaits.pop(stripe_customer, None)
        return bool(waiting)

    def _learn(self, stripe_customer: str, customer: str | None, now_ms: int) -> Mapping[str, int]:
        """Periods and plans of all subscriptions become facts; says when each of those that ended did."""
        # Not `now_ms`: what was looked at before in this round may have taken its time.
        read_at_ms = self._session.run(clock.now_ms)
        subscriptions = self._stripe.subscriptions(stripe_customer)
        names = self._names([item.meter_id for one in subscriptions for item in one.items])
        catalogue = self._catalogue.get()

        def keep(connection: Connection) -> None:
            with connection.transaction():
                held = periods.held(connection, [item.item_id for one in subscriptions for item in one.items])
                for subscription in subscriptions:
                    plan = None if catalogue is None else plan_of(catalogue, subscription.prices)
                    for fact in facts_of(subscription, names, plan, now_ms - REACH_MS, held):
                        self.work += periods.record_period(connection, fact)
                    if catalogue is not None and customer is not None:
                        seen = plans.Seen(
                            customer=customer,
                            subscription_id=subscription.subscription_id,
                            start_ms=subscription.start_ms,
                            ended_ms=subscription.ended_ms,
                            prices=subscription.prices,
                            read_at_ms=read_at_ms,
                        )
                        self.work += plans.learn(connection, seen, catalogue)

        self._session.run(keep)
        return {one.subscription_id: one.ended_ms for one in subscriptions if one.ended_ms is not None}

    def _names(self, meter_ids: Collection[str]) -> Mapping[str, str]:
        """Event names by meter id; asked anew when a meter is not known: they are made all the time, and never renamed."""
        if not set(meter_ids) <= self._event_names.keys():
            self._event_names = self._stripe.event_names()
        return self._event_names

    def _close(
        self, period: DuePeriod, invoice: Invoice | None, now_ms: int, subscription_over: bool, unread: list[Transient]
    ) -> int | None:
        """Flush at its end, compare with Stripe's summary, and record where the period stands; gives the next date.

        With something unread nothing is called settled: an invoice may be there that was not seen.
        """
        # With nothing to send there is nothing to flush: done at once, it would only ask for another look, and that one for another flush.
        if period.end_ms <= now_ms and period.status == "open" and (period.unsent_segments or period.open_intents):
            self._session.run(lambda connection: flush.request(connection, period.customer, PERIOD_ENDED))
        asked = period
        period = _answer(lambda: self._compared(asked, now_ms), asked, unread)
        known = _known(period, subscription_over)
        change = judge(known, invoice, now_ms)
        if _differs(period, change) and not (unread and change.status == "settled"):
            event = PeriodEvent(
                period.subscription_item_id,
                period.start_ms,
                change.status,
                change.invoice_id,
                change.finalizes_ms,
                change.basis,
                change.why,
            )
            if self._session.run(lambda connection: periods.record_event(connection, event)):
                self.work += 1
                self._tell(period, change)
                if period.status == change.status == "closing" and change.invoice_id != period.invoice_id:
                    # Its draft is told of: what was captured since the period ended still reaches it.
                    self._session.run(lambda connection: flush.request(connection, period.customer, PERIOD_ENDED))
        # One that is provable only waits for its invoice, and a date that came without notice is nobody's to keep.
        if change.status == "closing" and not known.provable and change.finalizes_ms >= known.foretold_ms:
            self._unproved[period.subscription_item_id, period.start_ms] = change.finalizes_ms
        else:
            self._unproved.pop((period.subscription_item_id, period.start_ms), None)
        return next_look_ms(known, change, now_ms)

    def _compared(self, period: DuePeriod, now_ms: int) -> DuePeriod:
        """Equality confirms at once; it is asked as soon as nothing is under way, and again while it is short."""
        if period.end_ms > now_ms or not period.any_usage or period.provable or period.unsent_segments or period.open_intents:
            return period
        if period.status == "settled" or period.equal:
            return period
        meter_id = next((meter for meter, name in self._names([]).items() if name == period.stripe_event_name), None)
        if meter_id is None:
            raise Transient(f"Stripe has no meter for event name {period.stripe_event_name}")
        read_at_ms = self._session.run(clock.now_ms)
        value = self._stripe.total(meter_id, period.stripe_customer, period.minute_start_ms, period.minute_end_ms)
        stripe = summary_to_smallest(value, period.scale)
        self._session.run(lambda connection: periods.store_check(connection, period, stripe, read_at_ms))
        again = self._due(period.stripe_customer)
        return next(
            (one for one in again if (one.subscription_item_id, one.start_ms) == (period.subscription_item_id, period.start_ms)), period
        )

    def _tell(self, period: DuePeriod, change: Change) -> None:
        said = {"item": period.subscription_item_id, "customer": period.customer, "period_end_ms": period.end_ms, "why": change.why}
        if change.status == "not_provable":
            self._log.error("a billing period is not provable", **said)
        else:
            self._log.info(f"period {change.status}", **said)

    def _count(self, outcome: str) -> None:
        if self._registry is not None:
            self._registry.increase(READS, what="periods", outcome=outcome)


def _answer(ask: Callable[[], T], otherwise: T, unread: list[Transient]) -> T:
    """What Stripe says; where it says nothing, something to go on with, and a note of it."""
    try:
        return ask()
    except Transient as missing:
        unread.append(missing)
        return otherwise


def _billed_by(period: DuePeriod, invoices: Sequence[PeriodInvoice], now_ms: int) -> Invoice | None:
    if period.end_ms > now_ms:
        return None
    return invoice_of(invoices, period.subscription_item_id, period.subscription_id, period.start_ms, period.end_ms)


def _over(period: DuePeriod, ended_ms: Mapping[str, int]) -> bool:
    return ended_ms.get(period.subscription_id, period.end_ms + 1) <= period.end_ms


def _known(period: DuePeriod, subscription_over: bool) -> Period:
    return Period(
        start_ms=period.start_ms,
        end_ms=period.end_ms,
        status=period.status,
        invoice_id=period.invoice_id,
        finalizes_ms=period.finalizes_ms,
        basis=period.deadline_basis,
        margin_ms=period.margin_ms,
        provable=period.provable,
        why_not=period.why_not,
        nothing_billed=not period.acknowledged,
        captured_by_ms=period.captured_by_ms,
        missing=period.unsent_segments > 0 or period.expired_intents > 0,
        foretold_ms=period.foretold_ms,
        subscription_over=subscription_over,
    )


def _differs(period: DuePeriod, change: Change) -> bool:
    held = (period.status, period.invoice_id, period.finalizes_ms, period.deadline_basis)
    return held != (change.status, change.invoice_id, change.finalizes_ms, change.basis)
