"""Invoices that a test says Stripe has, where the books behind them are the matter and Stripe is not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from trueup.ledger.invoices import InvoiceReading, LineReading, PriceReading

PERIOD_START_MS = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp()) * 1_000
PERIOD_END_MS = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) * 1_000
FINALIZED_MS = PERIOD_END_MS + 24 * 3_600_000


def make_price(price_id: str, event_name: str, **body: Any) -> PriceReading:
    """A price of usage."""
    shown = {"id": price_id, "currency": "usd", "billing_scheme": "per_unit", "recurring": {"meter": f"mtr_{event_name}"}, **body}
    return PriceReading(price_id, "usd", f"mtr_{event_name}", event_name, shown)


def make_line(price: PriceReading, quantity: str, amount_minor: int, *, item: str = "si_tokens", line_id: str | None = None) -> LineReading:
    """A line as Stripe shows it, for September."""
    return LineReading(
        line_id=line_id or f"il_{item}_{quantity}",
        subscription_item_id=item,
        subscription_id="sub_acme",
        price_id=price.price_id,
        stripe_event_name=None,
        period_start_ms=PERIOD_START_MS,
        period_end_ms=PERIOD_END_MS,
        quantity_decimal=Decimal(quantity),
        amount_minor=amount_minor,
        discount_minor=0,
        tax_minor=0,
        credits_applied_minor=0,
        currency="usd",
        unit_amount_decimal=None,
        body={"id": line_id or f"il_{item}_{quantity}", "amount": amount_minor, "quantity_decimal": quantity},
    )


def make_invoice(
    *lines: LineReading, invoice_id: str = "in_1", status: str = "paid", finalized_at_ms: int | None = FINALIZED_MS, customer: str = "acme"
) -> InvoiceReading:
    """An invoice for September of a customer."""
    total = sum(line.amount_minor for line in lines)
    return InvoiceReading(
        invoice_id=invoice_id,
        status=status,
        number="A-1",
        stripe_customer=f"cus_{customer}",
        subscription_id="sub_acme",
        billing_reason="subscription_cycle",
        currency="usd",
        subtotal_minor=total,
        total_minor=total,
        created_at_ms=PERIOD_END_MS,
        automatically_finalizes_at_ms=FINALIZED_MS,
        finalized_at_ms=finalized_at_ms,
        body={"id": invoice_id, "status": status},
        lines=lines,
    )


@dataclass
class GivenInvoices:
    """Stripe, as far as invoices go: what the test put in."""

    found: Sequence[InvoiceReading]
    known_prices: Sequence[PriceReading]
    previews: Mapping[str, Sequence[LineReading]] | None = None

    def invoices(self, stripe_customer: str, since_ms: int) -> Sequence[InvoiceReading]:
        """Those of the customer."""
        return [replace(one) for one in self.found if one.stripe_customer == stripe_customer and one.created_at_ms >= since_ms]

    def subscription_ids(self, stripe_customer: str) -> Sequence[str]:
        """Those with a preview."""
        return list(self.previews or {})

    def preview(self, stripe_customer: str, subscription_id: str) -> Sequence[LineReading]:
        """As given."""
        return (self.previews or {})[subscription_id]

    def price(self, price_id: str, event_names: Mapping[str, str], currencies: Collection[str]) -> PriceReading | None:
        """As given."""
        return next((price for price in self.known_prices if price.price_id == price_id), None)

    def event_names(self) -> Mapping[str, str]:
        """Prices know their meters already."""
        return {}
