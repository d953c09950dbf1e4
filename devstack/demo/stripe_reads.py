"""What Stripe shows of a month from outside: summaries, final invoices, previews, and the emulator's own books.

Read with the SDK and plain HTTP, sharing nothing with the reconciler: the closing table must be able to contradict it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import requests
import stripe

Readings = Mapping[tuple[str, str], Decimal]  # (Stripe customer, Stripe event name) → quantity in the meter's unit
TIMEOUT_SECONDS = 30


def client(stripe_url: str, api_key: str) -> stripe.StripeClient:
    """The emulator through Stripe's own SDK."""
    return stripe.StripeClient(api_key, base_addresses={"api": stripe_url}, max_network_retries=5)


def summaries(sdk: stripe.StripeClient, customers: Iterable[str], start_ms: int, end_ms: int) -> Readings:
    """The whole range of every meter and customer in one bucket; the float is taken by its shortest text."""
    found: dict[tuple[str, str], Decimal] = {}
    meters = list(sdk.v1.billing.meters.list({"limit": 100}).auto_paging_iter())
    for customer in customers:
        for meter in meters:
            asked: Any = {"customer": customer, "start_time": start_ms // 60_000 * 60, "end_time": -(-end_ms // 60_000) * 60, "limit": 100}
            rows = sdk.v1.billing.meters.event_summaries.list(meter.id, asked).auto_paging_iter()
            found[customer, meter.event_name] = sum((Decimal(repr(row.aggregated_value)) for row in rows), Decimal())
    return found


def previews(sdk: stripe.StripeClient, customers: Iterable[str]) -> Readings:
    """The usage lines of each customer's next invoice."""
    event_name_of_price = metered_prices(sdk)
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for customer in customers:
        for subscription in sdk.v1.subscriptions.list({"customer": customer, "limit": 100}).auto_paging_iter():
            invoice: Any = sdk.v1.invoices.create_preview({"customer": customer, "subscription": subscription.id})
            for line in invoice.lines.auto_paging_iter():
                event_name = event_name_of_price.get(line.pricing.price_details.price)
                if event_name is not None:
                    found[customer, event_name] += Decimal(line.quantity_decimal)
    return found


@dataclass(frozen=True, slots=True)
class Billed:
    """The usage lines of final invoices, summed by (Stripe customer, Stripe event name)."""

    quantities: Readings
    amounts_minor: Mapping[tuple[str, str], int]


def invoices(sdk: stripe.StripeClient, customers: Iterable[str]) -> Billed:
    """The usage lines of every invoice that is final."""
    event_name_of_price = metered_prices(sdk)
    quantities: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    amounts: dict[tuple[str, str], int] = defaultdict(int)
    for customer in customers:
        for invoice in final_invoices(sdk, customer):
            for line in invoice.lines.auto_paging_iter():
                event_name = event_name_of_price.get(line.pricing.price_details.price)
                if event_name is not None:
                    quantities[customer, event_name] += Decimal(line.quantity_decimal)
                    amounts[customer, event_name] += line.amount
    return Billed(quantities, amounts)


def invoiced_minor(sdk: stripe.StripeClient, customers: Iterable[str]) -> Mapping[str, int]:
    """What each customer was billed, in minor units: the totals of its final invoices."""
    return {customer: sum(invoice.total for invoice in final_invoices(sdk, customer)) for customer in customers}


def final_invoices(sdk: stripe.StripeClient, customer: str) -> Iterator[Any]:
    """Those that nothing changes any more."""
    every: Any = sdk.v1.invoices.list({"customer": customer, "limit": 100}).auto_paging_iter()
    return (invoice for invoice in every if invoice.status in ("open", "paid", "uncollectible"))


def newest_period_end(sdk: stripe.StripeClient, customers: Iterable[str]) -> int:
    """When the last of the customers' running periods ends, in Unix seconds."""
    every: Any = (sdk.v1.subscriptions.list({"customer": customer, "limit": 100}).auto_paging_iter() for customer in customers)
    return max(int(item.current_period_end) for found in every for one in found for item in one["items"].data)


def metered_prices(sdk: stripe.StripeClient) -> dict[str, str]:
    """Which price counts which meter's events."""
    event_names = {meter.id: meter.event_name for meter in sdk.v1.billing.meters.list({"limit": 100}).auto_paging_iter()}
    prices: Any = sdk.v1.prices.list({"limit": 100}).auto_paging_iter()
    return {price.id: event_names[price.recurring.meter] for price in prices if price.recurring and price.recurring.meter}


def books(stripe_url: str) -> Readings:
    """What the emulator added up from the requests it received."""
    answer = requests.get(f"{stripe_url}/_emulator/books", timeout=TIMEOUT_SECONDS)
    answer.raise_for_status()
    meters = answer.json()["meters"]
    return {(customer, name): Decimal(str(entry["value"])) for name, held in meters.items() for customer, entry in held.items()}
