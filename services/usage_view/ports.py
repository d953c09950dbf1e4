"""What this room needs of the ledger and of Kafka, in its own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from services.usage_view.core.freshness import Mark
from trueup.ledger.store.session import Connection

T = TypeVar("T")


class Ledger(Protocol):
    """Runs work on the ledger beside the event loop."""

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Give what the work gives; Transient when the ledger does not answer or too many wait for it."""


class SourceEnds(Protocol):
    """Knows where the source topic ends."""

    async def mark(self) -> Mark | None:
        """Where each partition ends, asked for at most a moment ago; None while the broker does not answer."""
