"""The timeline of plans as it is completed in the ledger: by looks that overtake each other, and under names that change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from services.reconciler.app.capturing import Capturing
from services.reconciler.app.periods import Periods
from services.reconciler.app.reading import Reading
from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import CATALOGUE_TOML, HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, true_ledger
from trueup.contracts.catalogue import FROM_THE_BEGINNING_MS, CatalogueVersion, VersionInForce, parse
from trueup.ledger.periods import PeriodFact
from trueup.ledger.store import catalogue, periods, plans
from trueup.ledger.store.connection import connect
from trueup.ledger.store.plans import PlanFact, Seen
from trueup.ledger.store.reconciliation import BilledCustomer
from trueup.ledger.store.session import Session

DAY_MS = 24 * HOUR_MS
START_MS = NOON_MS - DAY_MS
BASIC, PRO = ("price_basic_runs", "price_tokens"), ("price_pro_runs", "price_tokens")


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Armed, with one mapped customer."""
    with true_ledger(database) as made:
        made.map("acme")
        made.arm()
        yield made


def _learn(
    ledger: TrueLedger,
    prices: tuple[str, ...],
    read_at_ms: int,
    *,
    subscription: str = "sub_1",
    start_ms: int = START_MS,
    ended_ms: int | None = None,
    toml: str = CATALOGUE_TOML,
) -> int:
    with ledger.writer.transaction():
        seen = Seen("acme", subscription, start_ms, ended_ms, prices, read_at_ms)
        return plans.learn(ledger.writer, seen, parse(toml))


def _timeline(ledger: TrueLedger) -> list[tuple[int, str, str]]:
    return [(fact.effective_from_ms, fact.plan, fact.subscription_id) for fact in plans.timeline(ledger.writer, "acme")]


def _apply(ledger: TrueLedger, version: int, toml: str) -> str:
    in_force = VersionInForce(version, FROM_THE_BEGINNING_MS, parse(toml))
    catalogue.record_version(ledger.writer, CatalogueVersion(version, toml, "test"), NOON_MS, in_force)
    return toml


def test_a_look_that_is_kept_late_takes_back_no_change_that_came_meanwhile(ledger: TrueLedger) -> None:
    _learn(ledger, BASIC, NOON_MS)
    _learn(ledger, PRO, NOON_MS + 2 * MINUTE_MS)
    ledger.set_now(NOON_MS + 3 * MINUTE_MS)
    assert _learn(ledger, BASIC, NOON_MS + MINUTE_MS) == 0
    assert _timeline(ledger) == [(START_MS, "basic", "sub_1"), (NOON_MS + 2 * MINUTE_MS, "pro", "sub_1")]


def test_a_change_is_dated_by_the_look_and_not_by_its_keeping(ledger: TrueLedger) -> None:
    _learn(ledger, BASIC, NOON_MS)
    ledger.set_now(NOON_MS + HOUR_MS)
    _learn(ledger, PRO, NOON_MS + MINUTE_MS)
    assert _timeline(ledger)[-1] == (NOON_MS + MINUTE_MS, "pro", "sub_1")


def test_two_looks_at_a_customer_are_kept_one_after_the_other(ledger: TrueLedger) -> None:
    """Each completes what the other has made of it, and cannot see it before it is committed."""
    seen = Seen("acme", "sub_1", START_MS, None, BASIC, NOON_MS)
    other = Seen("acme", "sub_1", START_MS, None, PRO, NOON_MS + MINUTE_MS)
    with connect(ledger.database.writer_dsn, "test", lock_timeout_seconds=1) as second:
        with ledger.writer.transaction():
            plans.learn(ledger.writer, seen, parse(CATALOGUE_TOML))
            with pytest.raises(psycopg.errors.LockNotAvailable), second.transaction():
                plans.learn(second, other, parse(CATALOGUE_TOML))
        with second.transaction():
            plans.learn(second, other, parse(CATALOGUE_TOML))
    assert _timeline(ledger) == [(START_MS, "basic", "sub_1"), (NOON_MS + MINUTE_MS, "pro", "sub_1")]


class _Asked:
    """A Stripe that takes its time to answer; what happens meanwhile is the test's."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    def event_names(self) -> Mapping[str, str]:
        return {"runs_basic": "mtr_1"}

    def subscriptions(self, _stripe_customer: str) -> Sequence[Any]:
        self._meanwhile()
        both = {"subscription_id": "sub_1", "start_ms": START_MS, "ended_ms": None, "prices": BASIC}
        return [SimpleNamespace(**both, meters={}, items=())]

    def preview(self, _stripe_customer: str, _subscription_id: str) -> Sequence[Any]:
        return []


def _read(session: Session, stripe: Any) -> None:
    Reading(session, stripe, 1).subscriptions([BilledCustomer("acme", "cus_acme", None, None)])


def _look(session: Session, stripe: Any) -> None:
    Periods(session, stripe, Capturing(session, None), 60)._learn("cus_acme", "acme", NOON_MS)


@pytest.mark.parametrize("look", [_read, _look])
def test_whoever_looks_takes_the_date_before_asking(ledger: TrueLedger, look: Callable[[Session, Any], None]) -> None:
    def swapped_meanwhile() -> None:
        ledger.set_now(NOON_MS + HOUR_MS)
        _learn(ledger, PRO, NOON_MS + MINUTE_MS)
        ledger.set_now(NOON_MS + 2 * HOUR_MS)

    _learn(ledger, BASIC, NOON_MS)
    session = Session(ledger.database.writer_dsn, "test")
    look(session, _Asked(swapped_meanwhile))
    session.close()
    assert [plan for _from_ms, plan, _subscription in _timeline(ledger)] == ["basic", "pro"]


RENAMED = CATALOGUE_TOML.replace("basic =", "bronze =").replace("[plan.basic]", "[plan.bronze]")


def test_a_plan_that_is_renamed_is_so_from_its_beginning(ledger: TrueLedger) -> None:
    """Usage from before that was not cut yet is counted by the names of the newest catalogue, and by none of the old one."""
    _learn(ledger, BASIC, NOON_MS)
    period = PeriodFact("si_1", "sub_1", "cus_acme", BASIC[0], "runs_basic", "basic", "usd", START_MS, NOON_MS + 20 * DAY_MS)
    periods.record_period(ledger.writer, period)
    event = make_event("e1", meter="runs", event_time_ms=NOON_MS + 16 * MINUTE_MS, quantity=1)
    ledger.capture(make_announced(first_offset=0, on_time=[make_forwarded(0, event, arrival_ms=event.event_time_ms)], progress_offset=0))
    _apply(ledger, 2, RENAMED)
    assert ledger.cut(NOON_MS + 30 * MINUTE_MS) == 0
    assert _learn(ledger, BASIC, NOON_MS + HOUR_MS, toml=RENAMED) == 1
    assert _timeline(ledger) == [(START_MS, "basic", "sub_1"), (START_MS, "bronze", "sub_1")]
    assert _learn(ledger, BASIC, NOON_MS + 2 * HOUR_MS, toml=RENAMED) == 0
    assert ledger.cut(NOON_MS + HOUR_MS) == 1
    assert ledger.rows("select stripe_event_name from ledger.lane") == [("runs_basic",)]


def test_a_plan_gets_its_old_name_back(ledger: TrueLedger) -> None:
    """What is said again of a date is a new fact when something else was said in between."""
    _learn(ledger, BASIC, NOON_MS)
    _learn(ledger, BASIC, NOON_MS + HOUR_MS, toml=_apply(ledger, 2, RENAMED))
    toml = _apply(ledger, 3, CATALOGUE_TOML + "# as before\n")
    assert _learn(ledger, BASIC, NOON_MS + 2 * HOUR_MS, toml=toml) == 1
    assert [plan for _from_ms, plan, _subscription in _timeline(ledger)] == ["basic", "bronze", "basic"]
    assert _learn(ledger, BASIC, NOON_MS + 3 * HOUR_MS, toml=toml) == 0


def test_a_plan_that_is_taken_out_is_none_of_another_name(ledger: TrueLedger) -> None:
    """Whoever was on it was moved, and since when is not told."""
    _learn(ledger, BASIC, NOON_MS)
    toml = (
        CATALOGUE_TOML.replace('basic = "runs_basic", ', "")
        .replace("[plan.basic]", "")
        .replace('stripe_prices = ["price_basic_runs", "price_tokens"]', "")
    )
    _apply(ledger, 2, toml)
    _learn(ledger, PRO, NOON_MS + HOUR_MS, toml=toml)
    assert _timeline(ledger) == [(START_MS, "basic", "sub_1"), (NOON_MS + HOUR_MS, "pro", "sub_1")]


def test_a_subscription_that_ended_is_not_its_customers_newest_plan(ledger: TrueLedger) -> None:
    """Its plan got another name and other prices: of one that runs that would be news."""
    _learn(ledger, BASIC[:1], NOON_MS, subscription="sub_old")
    _learn(ledger, PRO, NOON_MS + HOUR_MS, subscription="sub_new", start_ms=NOON_MS)
    toml = _apply(ledger, 2, RENAMED.replace('["price_basic_runs", "price_tokens"]', '["price_basic_runs"]'))
    _learn(ledger, BASIC[:1], NOON_MS + DAY_MS, subscription="sub_old", ended_ms=NOON_MS, toml=toml)
    _learn(ledger, PRO, NOON_MS + DAY_MS, subscription="sub_new", start_ms=NOON_MS, toml=toml)
    assert _timeline(ledger) == [(START_MS, "basic", "sub_old"), (NOON_MS, "pro", "sub_new")]


def test_a_fact_of_the_first_time_keeps_its_cause() -> None:
    """It is held under it since before anything was ever said again."""
    assert PlanFact("acme", "basic", 1, "sub_1").cause_key == "subscription:sub_1:basic:1"
