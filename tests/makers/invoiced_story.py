"""The usage story, and what became of its seconds: a final invoice at 18:00 on which Stripe billed 1.40 of 1.50 at ten cents each.

Acme's item for seconds ended at 16:00. Of its 150 hundredths 140 are invoiced and 10 missed; they would have cost one cent more.
"""

from __future__ import annotations

from dataclasses import replace

from services.reconciler.app.invoices import Invoices
from tests.makers.invoices_given import GivenInvoices, make_invoice, make_line, make_price
from tests.makers.true_ledger import HOUR_MS, NOON_MS, TrueLedger
from tests.makers.usage_story import DAY_MS, told_story
from trueup.ledger.store import invoices
from trueup.ledger.store.session import Session

SECONDS = make_price("price_seconds", "seconds", unit_amount_decimal="10")


def invoiced_story(ledger: TrueLedger) -> None:
    """Told, read, and billed."""
    told_story(ledger)
    line = replace(
        make_line(SECONDS, "1.4", 14, item="si_seconds"), period_start_ms=NOON_MS - 10 * DAY_MS, period_end_ms=NOON_MS + 2 * HOUR_MS
    )
    invoice = replace(make_invoice(line, finalized_at_ms=NOON_MS + 4 * HOUR_MS), created_at_ms=NOON_MS + 2 * HOUR_MS)
    session = Session(ledger.database.writer_dsn, "reconciler")
    room = Invoices(session, GivenInvoices([invoice], [SECONDS]), "reconciler", 86_400)
    room.read(invoices.customers(ledger.writer))
    room.post()
    session.close()
