"""The usage view's own reading of a ledger, as the role it has and without its doors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from services.usage_view.app.reading import Bills
from services.usage_view.app.shown import bill_in_json
from services.usage_view.config import Settings
from services.usage_view.core.billing_period import CURRENT
from services.usage_view.core.freshness import Mark
from services.usage_view.metrics import registry
from tests.makers.true_ledger import TrueLedger
from trueup.ledger.store import clock
from trueup.ledger.store.session import Connection, Session

T = TypeVar("T")


class DateOfLedger:
    """The date that a test gave its ledger."""

    simulated = True

    def __init__(self, ledger: TrueLedger) -> None:
        self._ledger = ledger

    def now_ms(self) -> int:
        """As the ledger has it."""
        return clock.now_ms(self._ledger.writer)


class Reader:
    """The ledger as the role `usage_ro` sees it; a broker that says where partitions end where the test says so."""

    def __init__(self, ledger: TrueLedger, mark: Mark | None = None) -> None:
        self.session = Session(ledger.database.dsn_of("usage_ro"), "usage-view")
        self._mark = mark
        self._bills = Bills(Settings(partitions=1), self, self, DateOfLedger(ledger), registry("usage-view"))

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Work at once: a test has nothing else to do."""
        return self.session.run(work)

    async def mark(self) -> Mark | None:
        """What the test said."""
        return self._mark

    def usage(self, customer: str = "acme", wish: str | int = CURRENT, by: str | None = None) -> dict[str, Any]:
        """The JSON of a customer's period."""
        found = asyncio.run(self._bills.read(customer, wish, by))
        return bill_in_json(found.bill, found.data_through_ms, by, found.parts)
