"""What the load generator hands to Kafka: facts, how their bytes are damaged, and when they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Damage(StrEnum):
    """What is wrong with the bytes of a delivery that can't be read as an event."""

    GARBAGE = "garbage"
    EMPTY = "empty"
    NULL = "null"
    TRUNCATED = "truncated"
    TRAILING = "trailing"
    OVERSIZE = "oversize"
    UNKNOWN_FINGERPRINT = "unknown_fingerprint"
    UNKNOWN_SCHEMA_ID = "unknown_schema_id"


@dataclass(frozen=True, slots=True)
class Usage:
    """One metered fact as a product states it; quantity is in the meter's smallest unit."""

    source: str
    id: str
    customer: str
    meter: str
    quantity: int
    event_time_ms: int
    reason: str | None = None
    corrects: str | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One record on the source topic: a fact, its arrival, and how it is framed, placed or damaged."""

    arrival_ms: int
    usage: Usage
    made_as: str  # what the generator meant by it; for people who read the truth file
    damage: Damage | None = None
    confluent: bool = False  # Confluent wire format instead of Avro single-object encoding
    partition_shift: int = 0  # how many partitions beside the one its key belongs to
    dimensions_reversed: bool = False


@dataclass(frozen=True, slots=True)
class Burst:
    """Deliveries that are published when the clock stands at `at_ms`; none arrives later than that."""

    at_ms: int
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer of the month: who it is at Stripe, its plan and the products it uses."""

    name: str
    stripe_customer: str
    plan: str
    products: tuple[str, ...]


class Turn(StrEnum):
    """What happens to a customer's contract in the middle of a month."""

    SIGNS_UP = "signs up"  # exists and is subscribed, since the month began, only now: its usage was there before it
    CANCELS = "cancels"  # with a last invoice; it uses nothing afterwards
    CHANGES_PLAN = "changes plan"  # in the middle of its period; each plan counts and bills its own runs


@dataclass(frozen=True, slots=True)
class Contract:
    """A turn of a customer's contract, and when the clock stands at it."""

    at_ms: int
    customer: Customer
    turn: Turn
    new_plan: str | None = None  # for a change of plan


@dataclass(frozen=True, slots=True)
class Month:
    """Everything that will be delivered in one month, in the order of the clock."""

    seed: int
    start_ms: int
    end_ms: int
    customers: tuple[Customer, ...]
    bursts: tuple[Burst, ...]
    contracts: tuple[Contract, ...]

    @property
    def deliveries(self) -> list[Delivery]:
        """Every delivery in the order it is published."""
        return [delivery for burst in self.bursts for delivery in burst.deliveries]
