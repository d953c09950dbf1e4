"""What `trueup period preview` asks for: what Stripe would invoice now, beside what we make of it."""

from __future__ import annotations

from services.reconciler.adapters.invoices import InvoiceReader
from services.reconciler.app.invoices import Invoices
from trueup.contracts.errors import Transient
from trueup.ledger.store import invoices
from trueup.ledger.store.invoices import InvoiceLineRow
from trueup.ledger.store.session import Session
from trueup.runtime.settings import StreetSettings

DAY_SECONDS = 86_400


def preview_now(settings: StreetSettings, customer: str) -> list[InvoiceLineRow]:
    """Read a customer's invoices and previews now and give the lines of what is to come: previews and drafts. Nothing is posted.

    Transient when a reading went unanswered: what is shown would not be what Stripe says now.
    """
    session = Session(settings.postgres_dsn, "trueup-preview")
    try:
        room = Invoices(session, InvoiceReader(settings.stripe_api_key, settings.stripe_url), "trueup-preview", DAY_SECONDS)
        outcome = room.read(session.run(lambda connection: invoices.customers(connection, customer)))
        if outcome.failures:
            raise Transient("Stripe did not answer")
        rows = session.run(lambda connection: invoices.lines(connection, customer))
        return [row for row in rows if row.status in ("preview", "draft")]
    finally:
        session.close()
