"""Prices, invoices and lines as they were read; what they mean is handed in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from trueup.ledger.invoices import (
    CustomerInvoices,
    ExpectedLine,
    HeldLine,
    InvoiceReading,
    LineReading,
    MarginalPrice,
    MonthWorth,
    PeriodMonth,
    PriceReading,
)
from trueup.ledger.store import queries
from trueup.ledger.store.instants import instant


@dataclass(frozen=True, slots=True)
class Unbilled:
    """What one state keeps off every invoice."""

    state: str
    positions: int  # rows of finance.unbilled_usage
    amounts_minor: Mapping[str, int]  # by currency, of those with a price


@dataclass(frozen=True, slots=True)
class InvoiceLineRow:
    """A row of view finance.invoice_lines, as far as people at a terminal need it."""

    invoice_id: str
    line_id: str
    customer_id: str
    subscription_item_id: str | None
    meter: str | None
    price_id: str | None
    tier: int | None
    period_start: datetime
    period_end: datetime
    quantity_ledger: Decimal | None
    quantity_stripe: Decimal | None
    quantity_difference: Decimal | None
    unit_amount_decimal: Decimal | None
    amount_expected_minor: int | None
    amount_stripe_minor: int
    amount_difference_minor: int | None
    amount_mirror_minor: int | None  # what Stripe's own quantity costs by our arithmetic
    currency: str
    status: str


def customers(connection: psycopg.Connection, customer: str | None = None) -> list[CustomerInvoices]:
    """Customers with a Stripe customer, now or when something was sent, and what says when their invoices are read."""
    with connection.cursor(row_factory=class_row(CustomerInvoices)) as cursor:
        return cursor.execute(_sql("customers"), {"customer": customer}).fetchall()


def told_prices(connection: psycopg.Connection, stripe_customer: str) -> list[tuple[str, str]]:
    """Prices that a customer's items ever had, with their currencies."""
    return [(price_id, currency) for price_id, currency in connection.execute(_sql("told_prices"), {"stripe_customer": stripe_customer})]


def store_prices(connection: psycopg.Connection, prices: Iterable[PriceReading]) -> None:
    """Keep what changed about prices."""
    for price in prices:
        body = _canonical(price.body)
        connection.execute(
            _sql("store_price"),
            {
                "price_id": price.price_id,
                "currency": price.currency,
                "stripe_meter_id": price.stripe_meter_id,
                "stripe_event_name": price.stripe_event_name,
                "body": body,
                "body_sha256": _sha256(body),
            },
        )


def prices(connection: psycopg.Connection, price_ids: Sequence[str] | None = None) -> dict[str, PriceReading]:
    """Prices as they were last read."""
    wished = None if price_ids is None else list(price_ids)
    with connection.cursor(row_factory=class_row(PriceReading)) as cursor:
        return {price.price_id: price for price in cursor.execute(_sql("prices"), {"price_ids": wished})}


def store_reading(
    connection: psycopg.Connection,
    stripe_customer: str,
    previews: Mapping[str, Sequence[LineReading]],
    invoices: Sequence[InvoiceReading],
    read_at_ms: int,
) -> int:
    """Keep one reading of a customer: lines of previews by subscription, and what changed about invoices. Says how many of these had.

    All at once: a line that went from a preview to an invoice stands in one of them, whenever somebody looks.
    """
    given = {"stripe_customer": stripe_customer, "read_at": instant(read_at_ms)}
    with connection.transaction():
        connection.execute(_sql("lock_customer"), given)
        # An older reading that comes in later must not stand for what is to come.
        if connection.execute(_sql("read_since"), given).fetchone() is None:
            _store_previews(connection, stripe_customer, previews, read_at_ms)
        changed = sum(_store_invoice(connection, invoice, read_at_ms) for invoice in invoices)
        # It says that all of this customer was read.
        connection.execute(_sql("store_read"), given)
    return changed


def store_invoices(connection: psycopg.Connection, stripe_customer: str, invoices: Sequence[InvoiceReading], read_at_ms: int) -> int:
    """Keep what changed about a customer's invoices, where not all of the customer could be read. Says how many had changed.

    A line that has come from a preview to an invoice leaves the preview here too: it stands in one of them, whenever somebody looks.
    """
    given = {"stripe_customer": stripe_customer, "read_at": instant(read_at_ms)}
    billed = [line for invoice in invoices if invoice.status != "void" for line in invoice.lines if line.subscription_item_id]
    with connection.transaction():
        connection.execute(_sql("lock_customer"), given)
        changed = sum(_store_invoice(connection, invoice, read_at_ms) for invoice in invoices)
        if connection.execute(_sql("read_since"), given).fetchone() is None:
            connection.execute(
                _sql("forget_billed_lines"),
                given
                | {
                    "subscription_item_ids": [line.subscription_item_id for line in billed],
                    "period_starts": [instant(line.period_start_ms) for line in billed],
                    "period_ends": [instant(line.period_end_ms) for line in billed],
                },
            )
        return changed


def _store_invoice(connection: psycopg.Connection, invoice: InvoiceReading, read_at_ms: int) -> bool:
    body = _canonical(invoice.body)
    content = _sha256(body + "".join(_canonical(line.body) for line in invoice.lines))
    newest = connection.execute(_sql("newest_content"), {"invoice_id": invoice.invoice_id}).fetchone()
    # An older reading that comes in later must not stand for the invoice.
    if newest is not None and (newest[0] == content or newest[1] > instant(read_at_ms)):
        return False
    given = {
        "invoice_id": invoice.invoice_id,
        "status": invoice.status,
        "number": invoice.number,
        "stripe_customer": invoice.stripe_customer,
        "subscription_id": invoice.subscription_id,
        "billing_reason": invoice.billing_reason,
        "currency": invoice.currency,
        "subtotal_minor": invoice.subtotal_minor,
        "total_minor": invoice.total_minor,
        "created_at": instant(invoice.created_at_ms),
        "automatically_finalizes_at": _instant(invoice.automatically_finalizes_at_ms),
        "finalized_at": _instant(invoice.finalized_at_ms),
        "body": body,
        "content_sha256": content,
        "read_at": instant(read_at_ms),
    }
    row = connection.execute(_sql("store_snapshot"), given).fetchone()
    if row is not None:
        for position, line in enumerate(invoice.lines):
            others = {"snapshot_id": row[0], "position": position, "invoice_id": invoice.invoice_id, "body": _canonical(line.body)}
            connection.execute(_sql("store_line"), _line(line) | others)
    return True


def _store_previews(
    connection: psycopg.Connection, stripe_customer: str, lines_of: Mapping[str, Sequence[LineReading]], read_at_ms: int
) -> None:
    """Keep the lines of each of a customer's previews, and forget those of subscriptions that are no longer there."""
    connection.execute(_sql("forget_previews"), {"stripe_customer": stripe_customer, "subscription_ids": list(lines_of)})
    for subscription_id, lines in lines_of.items():
        connection.execute(_sql("forget_preview"), {"subscription_id": subscription_id})
        for position, line in enumerate(lines):
            others = {"position": position, "stripe_customer": stripe_customer, "read_at": instant(read_at_ms)}
            connection.execute(_sql("store_preview_line"), _line(line) | others | {"subscription_id": subscription_id})


def _line(line: LineReading) -> dict[str, object]:
    return {
        "line_id": line.line_id,
        "subscription_item_id": line.subscription_item_id,
        "subscription_id": line.subscription_id,
        "price_id": line.price_id,
        "stripe_event_name": line.stripe_event_name,
        "period_start": instant(line.period_start_ms),
        "period_end": instant(line.period_end_ms),
        "quantity_decimal": line.quantity_decimal,
        "amount_minor": line.amount_minor,
        "discount_minor": line.discount_minor,
        "tax_minor": line.tax_minor,
        "credits_applied_minor": line.credits_applied_minor,
        "currency": line.currency,
        "unit_amount_decimal": line.unit_amount_decimal,
        "tier": line.tier,
        "amount_mirror_minor": line.amount_mirror_minor,
        "why_not_mirrored": line.why_not_mirrored,
    }


def held_lines(connection: psycopg.Connection, stripe_customer: str) -> list[HeldLine]:
    """Each usage line of a customer's invoices and previews, with what the ledger holds for its item and period."""
    with connection.cursor(row_factory=class_row(HeldLine)) as cursor:
        return cursor.execute(_sql("held_lines"), {"stripe_customer": stripe_customer}).fetchall()


def store_expected(connection: psycopg.Connection, lines: Sequence[ExpectedLine], margins: Sequence[MarginalPrice]) -> None:
    """Keep our own lines beside Stripe's, and what further units would cost."""
    with connection.transaction():
        connection.execute(
            _sql("store_expected"),
            {
                "sources": [line.source for line in lines],
                "positions": [line.position for line in lines],
                "quantities": [line.quantity_ledger for line in lines],
                "amounts": [in_64_bits(line.amount_expected_minor) for line in lines],
            },
        )
        for margin in margins:
            connection.execute(
                _sql("store_marginal"),
                {
                    "subscription_item_id": margin.subscription_item_id,
                    "period_start": margin.period_start,
                    "period_end": margin.period_end,
                    "stripe_customer": margin.stripe_customer,
                    "stripe_event_name": margin.stripe_event_name,
                    "currency": margin.currency,
                    "unit_amount_decimal": margin.unit_amount_decimal,
                },
            )


def period_months(connection: psycopg.Connection) -> list[PeriodMonth]:
    """What was recorded in each month of every period with a price, each period's months in their order."""
    with connection.cursor(row_factory=class_row(PeriodMonth)) as cursor:
        found = cursor.execute(_sql("period_months")).fetchall()
    return [replace(month, used=int(month.used), taken_back=int(month.taken_back)) for month in found]


def store_worths(connection: psycopg.Connection, worths: Sequence[MonthWorth]) -> None:
    """Keep what months are worth, in the place of what was kept before."""
    given = [
        {
            "subscription_item_id": worth.of.subscription_item_id,
            "period_start": worth.of.period_start,
            "month": worth.of.month,
            "meter": worth.of.meter,
            "currency": worth.of.currency,
            "used": worth.of.used,
            "taken_back": worth.of.taken_back,
            "used_minor": worth.used_minor,
            "taken_back_minor": worth.taken_back_minor,
        }
        for worth in worths
    ]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_sql("forget_worth"))
        cursor.executemany(_sql("store_worth"), given)


def lines(connection: psycopg.Connection, customer: str, *, preview: bool | None = None) -> list[InvoiceLineRow]:
    """A customer's lines beside our own: all, those of previews, or those of invoices."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_sql("lines"), {"customer": customer, "preview": preview}).fetchall()
    return [InvoiceLineRow(**{name: row[name] for name in InvoiceLineRow.__slots__}) for row in rows]


def at_risk(connection: psycopg.Connection) -> list[Unbilled]:
    """What is on no invoice yet, by state."""
    found: dict[str, Unbilled] = {}
    for state, currency, positions, amount in connection.execute(_sql("at_risk")):
        before = found.get(state, Unbilled(state, 0, {}))
        worth = {} if amount is None else {str(currency): int(amount)}
        found[state] = Unbilled(state, before.positions + int(positions), {**before.amounts_minor, **worth})
    return list(found.values())


def in_64_bits(amount_minor: int | None) -> int | None:
    """Give an amount as the ledger keeps it: one that 64 bits do not hold counts as not known, which no real invoice ever asks for."""
    return amount_minor if amount_minor is not None and abs(amount_minor) < 2**63 else None


def _instant(ms: int | None) -> datetime | None:
    return None if ms is None else instant(ms)


def _canonical(body: Mapping[str, Any]) -> str:
    """Write it the same way whenever it is the same; decimals as the text they came in."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sql(name: str) -> bytes:
    return queries.load("invoices")[name]
