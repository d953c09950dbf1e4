"""Invoices, their lines, previews and prices as Stripe shows them: all pages, exact decimals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import stamina
import stripe

from services.reconciler.adapters.pages import NOTHING_THERE, PAGE, every
from services.reconciler.adapters.stripe_reader import ATTEMPTS, RETRY_SECONDS
from trueup.contracts.errors import Transient
from trueup.ledger.invoices import InvoiceReading, LineReading, PriceReading
from trueup.runtime.stripe_client import stripe_client

T = TypeVar("T")
BASE_UNIT = 1_000


class InvoiceReader:
    """Reads through stripe-python. Safe to share between threads."""

    def __init__(self, api_key: str, base_address: str | None) -> None:
        self._client = stripe_client(api_key, base_address)

    def invoices(self, stripe_customer: str, since_ms: int) -> Sequence[InvoiceReading]:
        """A customer's invoices made since an instant, each with all its lines; none when Stripe does not know the customer."""

        def read() -> list[InvoiceReading]:
            query: Any = {"customer": stripe_customer, "limit": PAGE, "created": {"gte": since_ms // BASE_UNIT}}
            found = every(lambda: self._client.v1.invoices.list(query))
            return [_invoice(invoice, list(invoice.lines.auto_paging_iter())) for invoice in found]

        return self._read("invoices", read)

    def subscription_ids(self, stripe_customer: str) -> Sequence[str]:
        """The subscriptions of a customer that are not cancelled."""

        def read() -> list[str]:
            query: Any = {"customer": stripe_customer, "limit": PAGE}
            return [found.id for found in every(lambda: self._client.v1.subscriptions.list(query))]

        return self._read("subscriptions", read)

    def preview(self, stripe_customer: str, subscription_id: str) -> Sequence[LineReading]:
        """The lines of the invoice that Stripe would write now."""

        wish: Any = {"customer": stripe_customer, "subscription": subscription_id}
        lines = self._read("preview", lambda: every(lambda: self._client.v1.invoices.create_preview(wish).lines))
        return [_line(line) for line in lines]

    def price(self, price_id: str, event_names: Mapping[str, str], currencies: Collection[str]) -> PriceReading | None:
        """A price with its tiers, and with its amounts in other currencies where one of those is asked for; None when Stripe
        does not know it. `event_names` are those of meters by id.
        """

        def read(*expanded: str) -> dict[str, Any] | None:
            expand: Any = {"expand": list(expanded)}
            try:
                return self._client.v1.prices.retrieve(price_id, expand).to_dict()
            except stripe.InvalidRequestError as error:
                if error.code in NOTHING_THERE:
                    return None
                raise

        body = self._read("price", lambda: read("tiers"))
        if body is not None and any(currency != body["currency"] for currency in currencies):
            body = self._read("price", lambda: read("tiers", "currency_options", "currency_options.tiers"))
        if body is None:
            return None
        meter_id = (body.get("recurring") or {}).get("meter")
        return PriceReading(price_id, str(body["currency"]), meter_id, event_names.get(meter_id or ""), body)

    def event_names(self) -> Mapping[str, str]:
        """Event names by meter id."""

        def read() -> dict[str, str]:
            return {meter.id: meter.event_name for meter in self._client.v1.billing.meters.list({"limit": PAGE}).auto_paging_iter()}

        return self._read("meters", read)

    def _read(self, what: str, read: Callable[[], T]) -> T:
        """Read again when it did not work, since asking changes nothing."""
        for attempt in stamina.retry_context(on=Transient, attempts=ATTEMPTS, timeout=RETRY_SECONDS, wait_initial=0.1, wait_max=1.0):
            with attempt:
                try:
                    return read()
                except stripe.StripeError as error:
                    raise Transient(f"Stripe's {what} could not be read: {error}") from error
        raise Transient(f"Stripe's {what} could not be read")


def _invoice(invoice: Any, lines: Sequence[Any]) -> InvoiceReading:
    body = invoice.to_dict()
    body.pop("lines", None)
    parent = body.get("parent") or {}
    finalized = (body.get("status_transitions") or {}).get("finalized_at")
    return InvoiceReading(
        invoice_id=str(body["id"]),
        status=str(body["status"]),
        number=body.get("number"),
        stripe_customer=str(body["customer"]),
        subscription_id=(parent.get("subscription_details") or {}).get("subscription"),
        billing_reason=body.get("billing_reason"),
        currency=str(body["currency"]),
        subtotal_minor=int(body["subtotal"]),
        total_minor=int(body["total"]),
        created_at_ms=int(body["created"]) * BASE_UNIT,
        automatically_finalizes_at_ms=_milliseconds(body.get("automatically_finalizes_at")),
        finalized_at_ms=_milliseconds(finalized),
        body=body,
        lines=tuple([_line(line) for line in lines]),
    )


def _line(line: Any) -> LineReading:
    body = line.to_dict()
    details = (body.get("parent") or {}).get("subscription_item_details") or {}
    pricing = body.get("pricing") or {}
    credits_ = [one for one in body.get("pretax_credit_amounts") or () if one.get("type") == "credit_balance_transaction"]
    return LineReading(
        line_id=str(body["id"]),
        subscription_item_id=details.get("subscription_item"),
        subscription_id=details.get("subscription"),
        price_id=(pricing.get("price_details") or {}).get("price"),
        stripe_event_name=None,
        period_start_ms=int(body["period"]["start"]) * BASE_UNIT,
        period_end_ms=int(body["period"]["end"]) * BASE_UNIT,
        quantity_decimal=_decimal(body.get("quantity_decimal")),
        amount_minor=int(body["amount"]),
        discount_minor=_sum(body.get("discount_amounts")),
        tax_minor=_sum(body.get("taxes")),
        credits_applied_minor=_sum(credits_),
        currency=str(body["currency"]),
        unit_amount_decimal=_decimal(pricing.get("unit_amount_decimal")),
        body=body,
    )


def _sum(amounts: Sequence[Mapping[str, Any]] | None) -> int:
    return sum(int(one["amount"]) for one in amounts or ())


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _milliseconds(seconds: int | None) -> int | None:
    return None if seconds is None else int(seconds) * BASE_UNIT
