"""Stripe as this room reads it: all pages, floats as they came, and Transient whenever an answer is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import stamina
import stripe

from services.reconciler.adapters.pages import PAGE, every
from services.reconciler.ports import HourValue, Subscription, UsageLine
from trueup.contracts.errors import Transient
from trueup.runtime.clock import Clock
from trueup.runtime.stripe_client import stripe_client

ATTEMPTS = 3
RETRY_SECONDS = 10.0
T = TypeVar("T")


class StripeReader:
    """Reads through stripe-python. Safe to share between threads: each has its own kept-alive connection."""

    def __init__(self, api_key: str, base_address: str | None, clock: Clock) -> None:
        self._client = stripe_client(api_key, base_address)
        self._clock = clock
        self._skew_seconds: float | None = None

    def event_names(self) -> Mapping[str, str]:
        """Meter ids by event name."""
        return self._read(
            "meters",
            lambda: {meter.event_name: meter.id for meter in self._client.v1.billing.meters.list({"limit": PAGE}).auto_paging_iter()},
        )

    def hours(self, meter_id: str, stripe_customer: str, from_ms: int, to_ms: int) -> Sequence[HourValue]:
        """Summaries by hour; hours without usage have none."""
        rows = self._summaries(meter_id, stripe_customer, from_ms, to_ms, by_hour=True)
        return [HourValue(int(row.start_time) * 1_000, float(row.aggregated_value)) for row in rows]

    def total(self, meter_id: str, stripe_customer: str, from_ms: int, to_ms: int) -> float:
        """The summary of one range of whole minutes."""
        rows = self._summaries(meter_id, stripe_customer, from_ms, to_ms, by_hour=False)
        if len(rows) > 1:
            raise Transient(f"Stripe gave {len(rows)} summaries for one range")
        return float(rows[0].aggregated_value) if rows else 0.0

    def subscriptions(self, stripe_customer: str) -> Sequence[Subscription]:
        """A customer's subscriptions; none when Stripe does not know the customer."""
        query: Any = {"customer": stripe_customer, "limit": PAGE}

        def read() -> list[Subscription]:
            return [_subscription(found) for found in every(lambda: self._noted(self._client.v1.subscriptions.list(query)))]

        return self._read("subscriptions", read)

    def preview(self, stripe_customer: str, subscription_id: str) -> Sequence[UsageLine]:
        """The usage lines of the invoice Stripe would write now."""
        wish: Any = {"customer": stripe_customer, "subscription": subscription_id}
        lines = self._read("preview", lambda: every(lambda: self._client.v1.invoices.create_preview(wish).lines))
        return [line for line in map(_usage_line, lines) if line is not None]

    def clock_skew_seconds(self) -> float | None:
        """How far the last answer's date was from ours; None before the first. A simulated clock has none."""
        return 0.0 if self._clock.simulated else self._skew_seconds

    def _summaries(self, meter_id: str, stripe_customer: str, from_ms: int, to_ms: int, *, by_hour: bool) -> list[Any]:
        asked: dict[str, Any] = {"customer": stripe_customer, "start_time": from_ms // 1_000, "end_time": to_ms // 1_000, "limit": PAGE}
        if by_hour:
            asked["value_grouping_window"] = "hour"

        summaries = self._client.v1.billing.meters.event_summaries
        return self._read("summaries", lambda: every(lambda: self._noted(summaries.list(meter_id, asked))))  # type: ignore[arg-type]

    def _read(self, what: str, read: Callable[[], T]) -> T:
        """Read again when it did not work: asking changes nothing."""
        for attempt in stamina.retry_context(on=Transient, attempts=ATTEMPTS, timeout=RETRY_SECONDS, wait_initial=0.1, wait_max=1.0):
            with attempt:
                try:
                    return read()
                except stripe.StripeError as error:
                    raise Transient(f"Stripe's {what} could not be read: {_first_line(error)}") from error
        raise Transient(f"Stripe's {what} could not be read")

    def _noted(self, listed: Any) -> Any:
        """Compare Stripe's date with ours, and give the list on."""
        answer = listed.last_response
        date = answer.headers.get("Date") if answer is not None else None
        if date:
            self._skew_seconds = self._clock.now_ms() / 1_000 - parsedate_to_datetime(date).timestamp()
        return listed


def _subscription(found: Any) -> Subscription:
    items = list(found["items"].auto_paging_iter())
    meters = {item.price.id: item.price.recurring.meter for item in items if item.price.recurring and item.price.recurring.meter}
    ended_ms = None if found.ended_at is None else int(found.ended_at) * 1_000
    return Subscription(found.id, int(found.start_date) * 1_000, ended_ms, tuple([item.price.id for item in items]), meters)


def _usage_line(line: Any) -> UsageLine | None:
    pricing, parent = line.pricing, line.parent
    if pricing is None or pricing.price_details is None:
        return None
    details = parent.subscription_item_details if parent is not None else None
    return UsageLine(
        price_id=str(pricing.price_details.price),
        subscription_item_id=None if details is None else str(details.subscription_item),
        quantity=Decimal(str(line.quantity_decimal)),
        period_start_ms=int(line.period.start) * 1_000,
        period_end_ms=int(line.period.end) * 1_000,
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
