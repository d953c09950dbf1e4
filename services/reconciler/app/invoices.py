"""Invoices: read when there is a reason to, set beside our own, and what they billed posted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.reconciler.app.reading import Outcome
from services.reconciler.core.invoices import invoices_due_ms
from services.reconciler.core.mirror import divided, expectations, with_mirror, worths
from services.reconciler.metrics import READS
from services.reconciler.ports import InvoiceReads
from trueup.contracts.errors import Transient
from trueup.ledger.invoices import BilledItem, CustomerInvoices, InvoiceReading, LineReading, PriceReading
from trueup.ledger.store import clock, invoice_postings, invoices
from trueup.ledger.store.session import Connection, Session
from trueup.runtime import log
from trueup.runtime.metrics import Registry

# Usage may be 35 days old, its period's invoice three days younger, and nobody reads an invoice much later than that.
REACH_MS = 70 * 86_400_000


class Invoices:
    """Reads what Stripe bills and posts it. Each step can be cut off anywhere: what was read is kept, what was posted is posted once."""

    def __init__(self, session: Session, stripe: InvoiceReads, writer: str, sweep_seconds: int, registry: Registry | None = None) -> None:
        self._session = session
        self._stripe = stripe
        self._writer = writer
        self._sweep_ms = sweep_seconds * 1_000
        self._registry = registry
        self._prices: dict[str, tuple[PriceReading, int]] = {}
        self._log = log.get("invoices")
        self._valued_ms = 0
        self.work = 0

    def next_due_ms(self, session: Session | None = None) -> int | None:
        """Give the earliest date at which a customer's invoices are read; None without customers."""
        customers = (session or self._session).run(invoices.customers)
        return min((invoices_due_ms(customer, self._sweep_ms) for customer in customers), default=None)

    def step(self, now_ms: int) -> Outcome:
        """Read the invoices that are due, and post what they billed."""
        known = self._session.run(invoices.customers)
        due = [customer for customer in known if invoices_due_ms(customer, self._sweep_ms) <= now_ms]
        outcome = self.read(due)
        if self.post() or now_ms - self._valued_ms >= self._sweep_ms:
            self.value()
            self._valued_ms = now_ms
        return outcome

    def read(self, customers: Sequence[CustomerInvoices]) -> Outcome:
        """Read the invoices and previews of customers and keep them."""
        failures = 0
        for customer in customers:
            self.work += 1
            try:
                self._read(customer.stripe_customer)
            except Transient as missing:
                failures += 1
                self._count("failed")
                self._log.warning(str(missing), stripe_customer=customer.stripe_customer)
            else:
                self._count("answered")
        return Outcome(len(customers), failures)

    def post(self) -> int:
        """Post what finalized invoices billed; says how many items moved something."""
        return sum(self._post(item) for item in self._session.run(invoice_postings.to_post))

    def value(self) -> None:
        """Work out what each month of every period is worth: after invoices and once a sweep, since it reads all usage."""
        months = self._session.run(invoices.period_months)
        if months:
            prices = self._session.run(lambda connection: invoices.prices(connection, sorted({month.price_id for month in months})))
            found = worths(months, prices)
            self._session.run(lambda connection: invoices.store_worths(connection, found))

    def _post(self, item: BilledItem) -> bool:
        def work(connection: Connection) -> bool:
            prices = invoices.prices(connection, [item.price_id])
            return invoice_postings.post(connection, item, lambda now, holdings: divided(now, holdings, prices), self._writer)

        posted = self._session.run(work)
        self.work += posted
        self.expect(item.stripe_customer)
        return posted

    def expect(self, stripe_customer: str) -> None:
        """Set our own lines beside those of a customer that were read."""
        held = self._session.run(lambda connection: invoices.held_lines(connection, stripe_customer))
        if held:
            prices = self._session.run(lambda connection: invoices.prices(connection, [line.price_id for line in held]))
            lines, margins = expectations(held, prices)
            self._session.run(lambda connection: invoices.store_expected(connection, lines, margins))

    def _read(self, stripe_customer: str) -> None:
        read_at_ms = self._session.run(clock.now_ms)
        # Previews first: a line that goes from one to an invoice meanwhile is then on both, and not on neither.
        previews, unread = self._previews(stripe_customer)
        found = self._stripe.invoices(stripe_customer, read_at_ms - REACH_MS)
        told = self._session.run(lambda connection: invoices.told_prices(connection, stripe_customer))
        lines = [line for some in (*(invoice.lines for invoice in found), *previews.values()) for line in some]
        shown = [(line.price_id, line.currency) for line in lines if line.price_id]
        prices = self._learn_prices([*told, *shown], read_at_ms)
        read = [_beside(invoice, prices) for invoice in found]
        ours = {subscription_id: with_mirror(lines, prices) for subscription_id, lines in previews.items()}
        self._session.run(lambda connection: invoices.store_prices(connection, prices.values()))
        if unread is None:
            self._session.run(lambda connection: invoices.store_reading(connection, stripe_customer, ours, read, read_at_ms))
        else:
            # What is final is billed, whatever is to come; the customer counts as not read, so that nothing is taken for missed.
            self._session.run(lambda connection: invoices.store_invoices(connection, stripe_customer, read, read_at_ms))
        self.expect(stripe_customer)
        if unread is not None:
            raise unread

    def _previews(self, stripe_customer: str) -> tuple[dict[str, Sequence[LineReading]], Transient | None]:
        """The lines to come of each subscription, and what kept one of them from being read."""
        found: dict[str, Sequence[LineReading]] = {}
        unread: Transient | None = None
        for subscription_id in self._stripe.subscription_ids(stripe_customer):
            try:
                found[subscription_id] = self._stripe.preview(stripe_customer, subscription_id)
            except Transient as missing:
                unread = missing
        return found, unread

    def _learn_prices(self, named: Sequence[tuple[str, str]], now_ms: int) -> dict[str, PriceReading]:
        """Ask for prices that are not known, or were read a sweep ago: what they charge never changes, all else may."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for price_id, currency in named:
            wanted[price_id].add(currency)
        unknown = [one for one in sorted(wanted) if one not in self._prices or now_ms - self._prices[one][1] >= self._sweep_ms]
        if unknown:
            event_names = self._stripe.event_names()
            for price_id in unknown:
                price = self._stripe.price(price_id, event_names, wanted[price_id])
                if price is not None:
                    self._prices[price_id] = (price, now_ms)
        return {price_id: self._prices[price_id][0] for price_id in wanted if price_id in self._prices}

    def _count(self, outcome: str) -> None:
        if self._registry is not None:
            self._registry.increase(READS, what="invoices", outcome=outcome)


def _beside(invoice: InvoiceReading, prices: Mapping[str, PriceReading]) -> InvoiceReading:
    return replace(invoice, lines=with_mirror(invoice.lines, prices))
