"""Subscriptions, invoices and events as the period keeper reads them: all pages, plain values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import stamina
import stripe

from services.reconciler.adapters.pages import PAGE, every
from services.reconciler.adapters.stripe_reader import ATTEMPTS, RETRY_SECONDS
from services.reconciler.core.closing import BilledSpan, Invoice, PeriodInvoice
from services.reconciler.core.timeline import Item, Subscription
from trueup.contracts.errors import Transient
from trueup.ledger.store.periods import ErrorReport
from trueup.runtime.stripe_client import stripe_client

T = TypeVar("T")
BASE_UNIT = 1_000
ERROR_REPORT = "v1.billing.meter.error_report_triggered"


class PeriodReader:
    """Reads through stripe-python. Safe to share between threads."""

    def __init__(self, api_key: str, base_address: str | None, refuse: Callable[[], None] = lambda: None) -> None:
        """`refuse` is called before each reading, and raises Transient while nothing may be read."""
        self._refuse = refuse
        self._client = stripe_client(api_key, base_address)

    def event_names(self) -> Mapping[str, str]:
        """Event names by meter id."""
        return self._read(
            "meters",
            lambda: {meter.id: meter.event_name for meter in self._client.v1.billing.meters.list({"limit": PAGE}).auto_paging_iter()},
        )

    def subscriptions(self, stripe_customer: str) -> Sequence[Subscription]:
        """A customer's subscriptions, cancelled ones too; none when Stripe does not know the customer."""
        query: Any = {"customer": stripe_customer, "limit": PAGE, "status": "all"}

        def read() -> list[Subscription]:
            return [_subscription(found) for found in every(lambda: self._client.v1.subscriptions.list(query))]

        return self._read("subscriptions", read)

    def invoices(self, stripe_customer: str, since_ms: int) -> Sequence[PeriodInvoice]:
        """A customer's invoices made since an instant, each with what its lines bill."""
        query: Any = {"customer": stripe_customer, "limit": PAGE, "created": {"gte": since_ms // BASE_UNIT}}

        def read() -> list[PeriodInvoice]:
            found = every(lambda: self._client.v1.invoices.list(query))
            return [_period_invoice(invoice.to_dict(), invoice.lines.auto_paging_iter()) for invoice in found]

        return self._read("invoices", read)

    def total(self, meter_id: str, stripe_customer: str, from_ms: int, to_ms: int) -> float:
        """The summary of one range of whole minutes."""
        asked: Any = {"customer": stripe_customer, "start_time": from_ms // BASE_UNIT, "end_time": to_ms // BASE_UNIT, "limit": PAGE}
        rows = self._read("summaries", lambda: every(lambda: self._client.v1.billing.meters.event_summaries.list(meter_id, asked)))
        return sum((float(row.aggregated_value) for row in rows), 0.0)

    def events(self, since_ms: int) -> Sequence[Mapping[str, Any]]:
        """Every event of the last days that Stripe still lists, made since an instant."""
        query: Any = {"created": {"gte": since_ms // BASE_UNIT}, "limit": PAGE}
        return self._read("events", lambda: [found.to_dict() for found in every(lambda: self._client.v1.events.list(query))])

    def error_reports(self, since_ms: int) -> Sequence[ErrorReport]:
        """Reports on meter events that were received and then refused, made since an instant; each with what it says."""
        query: Any = {"types": [ERROR_REPORT], "limit": PAGE}

        def read() -> list[ErrorReport]:
            found = []
            # The newest first, and without what they say: that is shown by each alone.
            for event in self._client.v2.core.events.list(query).auto_paging_iter():
                if _instant_ms(event.created) < since_ms:
                    break
                found.append(_report(self._client.v2.core.events.retrieve(event.id).to_dict()))
            return found

        return self._read("error reports", read)

    def _read(self, what: str, read: Callable[[], T]) -> T:
        self._refuse()
        for attempt in stamina.retry_context(on=Transient, attempts=ATTEMPTS, timeout=RETRY_SECONDS, wait_initial=0.1, wait_max=1.0):
            with attempt:
                try:
                    return read()
                except stripe.StripeError as error:
                    raise Transient(f"Stripe's {what} could not be read: {error}") from error
        raise Transient(f"Stripe's {what} could not be read")


def _report(body: Mapping[str, Any]) -> ErrorReport:
    reason = (body.get("data") or {}).get("reason") or {}
    return ErrorReport(
        event_id=str(body["id"]),
        stripe_meter_id=(body.get("related_object") or {}).get("id"),
        created_ms=_instant_ms(body["created"]),
        error_count=int(reason.get("error_count") or 0),
        codes=tuple(sorted(str(kind["code"]) for kind in reason.get("error_types") or ())),
        body=json.dumps(body, default=str),
    )


def _instant_ms(text: Any) -> int:
    """Stripe's second API writes RFC 3339."""
    return round(datetime.fromisoformat(str(text)).timestamp() * BASE_UNIT)


def _subscription(found: Any) -> Subscription:
    body = found.to_dict()
    items = [item.to_dict() for item in found["items"].auto_paging_iter()]
    return Subscription(
        subscription_id=str(body["id"]),
        stripe_customer=str(body["customer"]),
        status=str(body["status"]),
        created_ms=_milliseconds(body["created"]) or 0,
        start_ms=_milliseconds(body["start_date"]) or 0,
        anchor_ms=_milliseconds(body["billing_cycle_anchor"]) or 0,
        ended_ms=_milliseconds(body.get("ended_at")),
        prices=tuple([str(item["price"]["id"]) for item in items]),
        items=tuple([_item(item) for item in items if (item["price"].get("recurring") or {}).get("meter")]),
    )


def _item(body: Mapping[str, Any]) -> Item:
    price = body["price"]
    return Item(
        item_id=str(body["id"]),
        created_ms=_milliseconds(body["created"]) or 0,
        price_id=str(price["id"]),
        meter_id=str(price["recurring"]["meter"]),
        currency=str(price["currency"]),
        interval=str(price["recurring"]["interval"]),
        interval_count=int(price["recurring"]["interval_count"]),
        period_start_ms=_milliseconds(body["current_period_start"]) or 0,
        period_end_ms=_milliseconds(body["current_period_end"]) or 0,
    )


def _period_invoice(body: Mapping[str, Any], lines: Any) -> PeriodInvoice:
    details = (body.get("parent") or {}).get("subscription_details") or {}
    return PeriodInvoice(_invoice(body), details.get("subscription"), int(body["created"]) * BASE_UNIT, _spans(lines))


def _invoice(body: Mapping[str, Any]) -> Invoice:
    return Invoice(
        invoice_id=str(body["id"]),
        status=str(body["status"]),
        finalizes_ms=_milliseconds(body.get("automatically_finalizes_at")),
        finalized_ms=_milliseconds((body.get("status_transitions") or {}).get("finalized_at")),
    )


def _spans(lines: Any) -> tuple[BilledSpan, ...]:
    """What an invoice's lines bill, of items."""
    found = []
    for line in lines:
        body = line.to_dict()
        item = ((body.get("parent") or {}).get("subscription_item_details") or {}).get("subscription_item")
        if item:
            found.append(BilledSpan(str(item), int(body["period"]["start"]) * BASE_UNIT, int(body["period"]["end"]) * BASE_UNIT))
    return tuple(found)


def _milliseconds(seconds: int | None) -> int | None:
    return None if seconds is None else int(seconds) * BASE_UNIT
