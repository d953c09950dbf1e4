"""Facts about billing periods, as plain rows. Pure: the reconciler's core makes them, the store writes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeriodFact:
    """A billing period of a subscription item, as Stripe said it."""

    subscription_item_id: str
    subscription_id: str
    stripe_customer: str
    price_id: str
    stripe_event_name: str
    plan: str | None
    currency: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class PeriodEvent:
    """What became of a period."""

    subscription_item_id: str
    start_ms: int
    status: str
    invoice_id: str | None
    deadline_ms: int | None
    deadline_basis: str | None
    why: str
