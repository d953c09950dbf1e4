"""What this room needs of Kafka and of the ledger, in its own words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from trueup.contracts.catalogue import Catalogue
from trueup.ledger.store.session import Connection

T = TypeVar("T")
Record = tuple[bytes, bytes]
"""Key and value."""


class Deliveries(Protocol):
    """Gives records to the broker."""

    async def deliver(self, topic: str, records: Sequence[Record]) -> None:
        """Return once every record is acknowledged by all replicas in sync; Transient when that is not known of one of them."""


class CatalogueInForce(Protocol):
    """Knows the catalogue."""

    def at(self, now_ms: int) -> Catalogue:
        """What is in force at this date; Transient while that is not known."""


class Mode(Protocol):
    """Knows what the ledger is of."""

    def livemode(self) -> bool | None:
        """Which of Stripe's modes the ledger serves, where that was recorded."""


class Ends(Protocol):
    """Knows where the source topic ends."""

    async def end_for(self, customer: str) -> tuple[int, int]:
        """The partition of a customer's usage, and the offset that its next record will get; Transient when the broker does not answer."""


class Ledger(Protocol):
    """Runs work on the ledger beside the event loop."""

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Give what the work gives; Transient when the ledger does not answer or too many wait for it."""
