"""The values that travel between the reading of invoices and the ledger. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class PriceReading:
    """A price as Stripe describes it now."""

    price_id: str
    currency: str
    stripe_meter_id: str | None  # None: not a price of usage
    stripe_event_name: str | None
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LineReading:
    """A line of an invoice or preview as Stripe shows it, and what we make of its quantity."""

    line_id: str
    subscription_item_id: str | None
    subscription_id: str | None
    price_id: str | None
    stripe_event_name: str | None  # None: not a line of usage
    period_start_ms: int
    period_end_ms: int
    quantity_decimal: Decimal | None
    amount_minor: int
    discount_minor: int
    tax_minor: int
    credits_applied_minor: int
    currency: str
    unit_amount_decimal: Decimal | None
    body: Mapping[str, Any]
    tier: int | None = None
    amount_mirror_minor: int | None = None
    why_not_mirrored: str | None = None


@dataclass(frozen=True, slots=True)
class InvoiceReading:
    """An invoice as Stripe shows it."""

    invoice_id: str
    status: str
    number: str | None
    stripe_customer: str
    subscription_id: str | None
    billing_reason: str | None
    currency: str
    subtotal_minor: int
    total_minor: int
    created_at_ms: int
    automatically_finalizes_at_ms: int | None
    finalized_at_ms: int | None
    body: Mapping[str, Any]
    lines: tuple[LineReading, ...]


@dataclass(frozen=True, slots=True)
class BilledItem:
    """A subscription item's period on a finalized invoice, and what was posted for it so far."""

    invoice_id: str  # 'none:' …, where it ended without one; 'unlined:' …, where no line is over it
    snapshot_id: int | None
    subscription_item_id: str
    price_id: str
    stripe_customer: str
    stripe_event_name: str
    lane_id: int | None
    scale: int
    period_start: datetime
    period_end: datetime
    quantity_decimal: Decimal  # of all its lines, in the meter's unit
    currency: str
    postings: int
    quantity_invoiced: int
    quantity_missed: int
    missed_by: str | None = None  # the subscription that will not bill it, where no invoice does


@dataclass(frozen=True, slots=True)
class Holding:
    """What stands in acknowledged of one intent."""

    intent_id: int
    quantity: int
    events: int
    acknowledged_at: datetime
    refused: bool = False  # by a report of Stripe's, after its 2xx


@dataclass(frozen=True, slots=True)
class Allocation:
    """How an intent's quantity is divided: billed, and missed."""

    intent_id: int
    quantity_invoiced: int
    events_invoiced: int
    quantity_missed: int
    events_missed: int
    amount_missed_minor: int | None


@dataclass(frozen=True, slots=True)
class HeldLine:
    """A line of Stripe's of which the ledger is asked what it holds."""

    source: str  # an invoice, or 'preview:' and a subscription
    position: int
    subscription_item_id: str
    price_id: str
    currency: str
    stripe_customer: str
    stripe_event_name: str
    period_start: datetime
    period_end: datetime
    scale: int
    quantity_stripe: Decimal
    quantity_acknowledged: int  # of the whole item and period, smallest unit


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """Our own line beside Stripe's."""

    source: str
    position: int
    quantity_ledger: Decimal  # smallest unit
    amount_expected_minor: int | None


@dataclass(frozen=True, slots=True)
class MarginalPrice:
    """What a further unit of an item's period would cost, in minor units with decimals."""

    subscription_item_id: str
    period_start: datetime
    period_end: datetime
    stripe_customer: str
    stripe_event_name: str
    currency: str
    unit_amount_decimal: Decimal | None


@dataclass(frozen=True, slots=True)
class PeriodMonth:
    """What was recorded in a month of a subscription item's period, in the meter's smallest unit."""

    subscription_item_id: str
    period_start: datetime
    month: date
    meter: str
    currency: str
    price_id: str
    scale: int
    used: int
    taken_back: int  # negative


@dataclass(frozen=True, slots=True)
class MonthWorth:
    """What that is worth, in minor units."""

    of: PeriodMonth
    used_minor: int
    taken_back_minor: int


@dataclass(frozen=True, slots=True)
class CustomerInvoices:
    """What is known of a customer's invoices, so that they are read no more often than needed."""

    customer: str
    stripe_customer: str
    read_at_ms: int | None
    finalizes_at_ms: int | None  # the earliest draft that should be final by then
    period_end_ms: int | None  # the earliest end of a period since the last reading, at which a draft should appear
    hinted_at_ms: int | None  # a notification about an invoice that came after the last reading
