"""What the ledger says of one customer's usage and bill, as the usage view asks for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class ItemPeriod:
    """A billing period of a subscription item: [start, end), what it counts and at which price."""

    subscription_item_id: str
    subscription_id: str
    stripe_customer: str
    stripe_event_name: str
    meter: str
    price_id: str
    currency: str
    start_ms: int
    end_ms: int
    repriced: bool = False  # its price was changed within the period
    removed_ms: int | None = None  # since when its subscription is without it

    @property
    def until_ms(self) -> int:
        """Up to when it counts usage, exclusive."""
        return self.end_ms if self.removed_ms is None else min(self.end_ms, self.removed_ms)


@dataclass(frozen=True, slots=True)
class Held:
    """What stands in one account of a meter, in one stretch of a period."""

    meter: str
    stripe_customer: str | None  # None: not sent
    stripe_event_name: str | None  # None: not sent, and not yet decided under which name it will be
    account: int
    stretch: int  # from 1
    quantity: int  # smallest unit


@dataclass(frozen=True, slots=True)
class MeterUnit:
    """What a meter counts in."""

    unit: str
    scale: int


@dataclass(frozen=True, slots=True)
class FinalLine:
    """A usage line of a final invoice."""

    invoice_id: str
    number: str | None
    subscription_item_id: str
    price_id: str
    currency: str
    start_ms: int
    end_ms: int
    quantity: Decimal  # in the meter's unit
    unit_amount_decimal: Decimal | None
    tier: int | None
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Known:
    """Who a customer is: the meters that counted for it, its Stripe customers, the periods of its items. All empty: nobody knows it."""

    customer: str
    meters: tuple[str, ...]
    stripe_customers: tuple[str, ...]
    periods: tuple[ItemPeriod, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a bill is made of."""

    held: tuple[Held, ...]
    corrections: Mapping[str, int]  # by meter, smallest unit
    units: Mapping[str, MeterUnit]
    prices: Mapping[str, Mapping[str, Any]]  # Stripe's price objects by id
    final_lines: tuple[FinalLine, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition of the source topic is in the ledger."""

    partition: int
    next_offset: int | None  # None: nothing of it was ever captured
    last_arrival_ms: int | None


@dataclass(frozen=True, slots=True)
class CustomerEvent:
    """An event of a customer, as the ledger keeps it."""

    batch_id: int
    source_offset: int
    source: str
    id: str
    meter: str
    event_time_ms: int
    arrival_ms: int
    quantity: int  # as published, smallest unit
    billable_quantity: int
    counted: bool  # False: kept for a person to decide
    late: bool
    reason: str | None
    corrects: str | None
    dimensions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, and after which batch and offset the listing goes on; None at its end."""

    events: tuple[CustomerEvent, ...]
    goes_on_after: tuple[int, int] | None
