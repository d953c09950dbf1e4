"""What period_status says of a period after it was settled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import ACK, HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, true_ledger
from trueup.ledger.periods import PeriodEvent, PeriodFact
from trueup.ledger.store import periods
from trueup.ledger.store.dispatch import lanes
from trueup.ledger.store.instants import instant

DAY_MS = 24 * HOUR_MS


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Armed, with one mapped customer."""
    with true_ledger(database) as made:
        made.map("acme")
        made.arm()
        yield made


def _period(ledger: TrueLedger, start_ms: int, end_ms: int) -> None:
    fact = PeriodFact("si_1", "sub_1", "cus_acme", "price_tokens", "tokens", "basic", "usd", start_ms, end_ms)
    assert periods.record_period(ledger.writer, fact)


def _send(ledger: TrueLedger, offset: int, at_ms: int) -> None:
    record = make_forwarded(offset, make_event(f"e{offset}", event_time_ms=at_ms, quantity=7), arrival_ms=at_ms)
    ledger.capture(make_announced(first_offset=offset, on_time=[record], progress_offset=offset))
    ledger.cut(at_ms + 10 * MINUTE_MS)
    ledger.send(ACK, at_ms + 10 * MINUTE_MS)


def _settled(ledger: TrueLedger) -> list[tuple[object, ...]]:
    return ledger.rows("select status, provable, why_not from finance.period_status where status = 'settled'")


def test_a_period_without_usage_stays_provable_when_its_successor_is_used(ledger: TrueLedger) -> None:
    _period(ledger, NOON_MS - 40 * DAY_MS, NOON_MS - 10 * DAY_MS)
    _period(ledger, NOON_MS - 10 * DAY_MS, NOON_MS + 20 * DAY_MS)
    periods.store_captured_through(ledger.writer, NOON_MS - 9 * DAY_MS)
    event = PeriodEvent("si_1", NOON_MS - 40 * DAY_MS, "settled", None, NOON_MS - 9 * DAY_MS, "grace", "there was nothing to invoice")
    assert periods.record_event(ledger.writer, event)
    assert _settled(ledger) == [("settled", True, None)]
    _send(ledger, 0, NOON_MS)
    assert _settled(ledger) == [("settled", True, None)]


def test_a_deadline_that_is_over_is_no_alert_for_ever(ledger: TrueLedger) -> None:
    """Of a period that is not provable, and of one whose invoice was final before its date could be told."""
    _period(ledger, NOON_MS - 40 * DAY_MS, NOON_MS - 10 * DAY_MS)
    start_ms, end_ms = NOON_MS - 40 * DAY_MS, NOON_MS - 10 * DAY_MS
    told = PeriodEvent("si_1", start_ms, "closing", "in_1", end_ms, "draft", "final at once")
    assert periods.record_event(ledger.writer, told)
    assert "closing" not in periods.deadlines(ledger.writer)
    for deadline_ms, shown in ((NOON_MS + DAY_MS, True), (end_ms, False)):
        periods.record_event(ledger.writer, PeriodEvent("si_1", start_ms, "not_provable", None, deadline_ms, "draft", "7 unsent"))
        assert ("not_provable" in periods.deadlines(ledger.writer)) is shown


def test_what_missed_its_deadline_stands_there_with_its_worth_for_a_day(ledger: TrueLedger) -> None:
    """7 sent, of which Stripe shows 5, and 7 that were cut and never called: 9 at 2.5 cents each."""
    start_ms, end_ms = NOON_MS - 20 * DAY_MS, NOON_MS + 2 * HOUR_MS
    deadline_ms = end_ms + DAY_MS
    _period(ledger, start_ms, end_ms)
    ledger.admin.execute(
        "insert into ops.marginal_price values ('si_1', %s, %s, 'cus_acme', 'tokens', 'usd', 2.5, %s)",
        (instant(start_ms), instant(end_ms), instant(start_ms)),
    )
    _send(ledger, 0, NOON_MS)
    record = make_forwarded(1, make_event("e1", event_time_ms=end_ms - MINUTE_MS, quantity=7), arrival_ms=end_ms)
    ledger.capture(make_announced(first_offset=1, on_time=[record], progress_offset=1))
    ledger.cut(end_ms + 10 * MINUTE_MS)
    ledger.set_now(deadline_ms)
    assert lanes.expire(ledger.writer, "sink") == 1
    (period,) = periods.due(ledger.writer, ["cus_acme"])
    periods.store_check(ledger.writer, period, 5, deadline_ms)
    periods.record_event(ledger.writer, PeriodEvent("si_1", start_ms, "not_provable", None, deadline_ms, "grace", "7 unsent"))
    statement = "select open_quantity, unproved_quantity_smallest, unproved_amount_minor, currency from finance.period_status"
    assert ledger.rows(statement) == [(0, 9, 23, "usd")]
    assert periods.lately_not_provable(ledger.writer) == {"usd": (1, 23)}
    ledger.set_now(deadline_ms + DAY_MS)
    assert periods.lately_not_provable(ledger.writer) == {}
