"""What this room needs of Stripe, in its own words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from services.reconciler.core import timeline
from services.reconciler.core.closing import PeriodInvoice
from trueup.ledger.invoices import InvoiceReading, LineReading, PriceReading
from trueup.ledger.store.periods import ErrorReport


@dataclass(frozen=True, slots=True)
class HourValue:
    """Stripe's float for one hour."""

    hour_start_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription that is not cancelled, and the prices it has."""

    subscription_id: str
    start_ms: int
    ended_ms: int | None
    prices: tuple[str, ...]
    meters: Mapping[str, str]  # price id → meter id


@dataclass(frozen=True, slots=True)
class UsageLine:
    """A line of an invoice preview."""

    price_id: str
    subscription_item_id: str | None
    quantity: Decimal
    period_start_ms: int
    period_end_ms: int


class SourceEnds(Protocol):
    """Knows where the source topic ends."""

    def ends(self) -> Mapping[int, int]:
        """The offset that the next record of each partition will get; 0 where the topic holds nothing. Transient without an answer."""


class StripeReads(Protocol):
    """Reading, and nothing else. Every method reads all pages, and raises Transient when an answer is missing."""

    def event_names(self) -> Mapping[str, str]:
        """Meter ids by event name."""

    def hours(self, meter_id: str, stripe_customer: str, from_ms: int, to_ms: int) -> Sequence[HourValue]:
        """Summaries by hour; hours without usage have none."""

    def total(self, meter_id: str, stripe_customer: str, from_ms: int, to_ms: int) -> float:
        """The summary of one range of whole minutes."""

    def subscriptions(self, stripe_customer: str) -> Sequence[Subscription]:
        """A customer's subscriptions; none when Stripe does not know the customer."""

    def preview(self, stripe_customer: str, subscription_id: str) -> Sequence[UsageLine]:
        """The usage lines of the invoice Stripe would write now."""

    def clock_skew_seconds(self) -> float | None:
        """How far the last answer's date was from ours; None before the first."""


class InvoiceReads(Protocol):
    """Reading of what Stripe bills. Every method reads all pages, and raises Transient when an answer is missing."""

    def invoices(self, stripe_customer: str, since_ms: int) -> Sequence[InvoiceReading]:
        """A customer's invoices made since an instant, each with all its lines; none when Stripe does not know the customer."""

    def subscription_ids(self, stripe_customer: str) -> Sequence[str]:
        """The subscriptions of a customer that are not cancelled."""

    def preview(self, stripe_customer: str, subscription_id: str) -> Sequence[LineReading]:
        """The lines of the invoice that Stripe would write now."""

    def price(self, price_id: str, event_names: Mapping[str, str], currencies: Collection[str]) -> PriceReading | None:
        """A price with its tiers, also in these currencies; None when Stripe does not know it. `event_names` are those of meters by id."""

    def event_names(self) -> Mapping[str, str]:
        """Event names by meter id."""


class PeriodReads(Protocol):
    """What the keeper reads. Every method reads all pages, and raises Transient when an answer is missing."""

    def event_names(self) -> Mapping[str, str]:
        """Event names by meter id."""

    def subscriptions(self, stripe_customer: str) -> Sequence[timeline.Subscription]:
        """A customer's subscriptions, cancelled ones too; none when Stripe does not know the customer."""

    def invoices(self, stripe_customer: str, since_ms: int) -> Sequence[PeriodInvoice]:
        """A customer's invoices made since an instant, each with what its lines bill."""

    def total(self, meter_id: str, stripe_customer: str, from_ms: int, to_ms: int) -> float:
        """The summary of one range of whole minutes."""


class SummaryReads(Protocol):
    """Where a flush is confirmed."""

    def event_names(self) -> Mapping[str, str]:
        """Event names by meter id."""

    def total(self, meter_id: str, stripe_customer: str, from_ms: int, to_ms: int) -> float:
        """The summary of one range of whole minutes."""


class EventReads(Protocol):
    """Where the gaps are closed."""

    def events(self, since_ms: int) -> Sequence[Mapping[str, Any]]:
        """Every event that Stripe still lists, made since an instant."""

    def error_reports(self, since_ms: int) -> Sequence[ErrorReport]:
        """Reports on meter events that were received and then refused, made since an instant; each with what it says."""
