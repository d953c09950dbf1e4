"""A customer's bill, read in one picture of the ledger: what the JSON and the page are both made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.usage_view.config import Settings
from services.usage_view.core.bill import Bill, bounds_of, make_bill
from services.usage_view.core.billing_period import BillingPeriod, billing_periods, chosen
from services.usage_view.core.freshness import data_through_ms
from services.usage_view.metrics import DATA_THROUGH, DISAGREEING
from services.usage_view.ports import Ledger, SourceEnds
from trueup.contracts.problems import Problem, Refused
from trueup.ledger.customer_usage import Known, Progress
from trueup.ledger.store import customer_usage
from trueup.ledger.store.session import Connection
from trueup.runtime.clock import Clock
from trueup.runtime.metrics import Registry

Parts = Sequence[tuple[str, str | None, int]]
"""What each value of a dimension used: meter, value, quantity."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A bill, all periods that could have been asked for, and how fresh it is."""

    bill: Bill
    periods: tuple[BillingPeriod, ...]
    parts: Parts
    data_through_ms: int | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class _Read:
    bill: Bill
    periods: tuple[BillingPeriod, ...]
    parts: Parts
    progress: tuple[Progress, ...]


class Bills:
    """Reads bills."""

    def __init__(self, settings: Settings, ledger: Ledger, ends: SourceEnds, clock: Clock, registry: Registry) -> None:
        self._partitions = settings.partitions
        self._ledger = ledger
        self._ends = ends
        self._clock = clock
        self._registry = registry

    async def read(self, customer: str, wish: str | int, by: str | None = None) -> Reading:
        """Read the bill of a period, divided by a dimension if one is named; Refused when there is no such customer or period."""
        # Asked before the ledger is read: what was captured up to these ends is all that had arrived by then.
        mark = await self._ends.mark()
        now_ms = self._clock.now_ms()
        read = await self._ledger.run(lambda connection: self._read(connection, customer, wish, by, now_ms))
        through_ms = data_through_ms(read.progress, mark)
        if through_ms is not None:
            self._registry.set(DATA_THROUGH, through_ms / 1_000)
        if read.bill.disagreeing:
            self._registry.increase(DISAGREEING)
        return Reading(read.bill, read.periods, read.parts, through_ms, now_ms)

    async def require(self, customer: str) -> None:
        """Refuse a customer that nobody knows."""
        await self._ledger.run(lambda connection: known_customer(connection, customer))

    def _read(self, connection: Connection, customer: str, wish: str | int, by: str | None, now_ms: int) -> _Read:
        with customer_usage.one_picture(connection):
            who, period, periods = period_of(connection, customer, wish, now_ms)
            facts = customer_usage.facts(connection, who, period.items, bounds_of(period))
            parts = () if by is None else _parts(connection, customer, period, by)
            progress = customer_usage.progress(connection, self._partitions)
        return _Read(make_bill(customer, period, facts), periods, parts, progress)


def _parts(connection: Connection, customer: str, period: BillingPeriod, dimension: str) -> Parts:
    found = customer_usage.by_dimension(connection, customer, (period.start_ms, period.end_ms), dimension)
    if found is None:
        raise Refused(Problem(422, "too-many-events", "This period has too many events to divide", "export them by /events"))
    return found


def known_customer(connection: Connection, customer: str) -> Known:
    """Who a customer is; Refused when nobody knows it."""
    who = customer_usage.known(connection, customer)
    if not who.meters and not who.stripe_customers:
        raise Refused(Problem(404, "unknown-customer", "No such customer is known", "no usage of it was captured, and nobody mapped it"))
    return who


def period_of(
    connection: Connection, customer: str, wish: str | int, now_ms: int
) -> tuple[Known, BillingPeriod, tuple[BillingPeriod, ...]]:
    """The period that is meant, among all of the customer's; Refused when nobody knows such a one."""
    who = known_customer(connection, customer)
    periods = billing_periods(who.periods)
    period = chosen(periods, wish, now_ms)
    if period is None:
        raise Refused(Problem(404, "unknown-period", "No such period is known", "a period is named by current, previous or its start"))
    return who, period, periods
