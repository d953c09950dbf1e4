"""The ledger beside Stripe: every explanation that can occur by now, each once, and the figures by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.conftest import Database
from tests.makers.true_ledger import ACK, HOUR_MS, MINUTE_MS, NOON_MS, REJECT, RETRY, UNKNOWN, TrueLedger, hours, true_ledger
from tests.makers.usage_story import captured_story, told_story
from trueup.ledger.store import reconciliation
from trueup.ledger.store.instants import instant

SENT_MS = NOON_MS + 2 * HOUR_MS
SETTLED_MS = SENT_MS + 2 * HOUR_MS
NOON = instant(NOON_MS)


@pytest.fixture
def ledger(database: Database):
    with true_ledger(database) as made:
        yield made


def _sent(ledger: TrueLedger, answer) -> None:
    captured_story(ledger)
    ledger.arm()
    ledger.cut(SENT_MS)
    ledger.send(answer, SENT_MS)


def _row(ledger: TrueLedger, meter: str = "tokens", hour: int = 0):
    rows = reconciliation.rows(ledger.writer, "acme", NOON_MS + hour * HOUR_MS, NOON_MS + (hour + 1) * HOUR_MS)
    (row,) = [row for row in rows if row.meter == meter]
    return row


def test_the_whole_story_agrees(ledger: TrueLedger):
    told_story(ledger)
    rows = reconciliation.rows(ledger.writer)
    assert [
        (row.meter, row.hour_start, row.quantity_ledger, row.quantity_acknowledged, row.quantity_stripe, row.difference, row.explanation)
        for row in rows
    ] == [
        ("seconds", NOON, Decimal("1.50"), Decimal("1.50"), Decimal("1.50"), 0, "agrees"),
        # Late usage is in the ledger, for a person to decide; Stripe rightly has nothing of it.
        ("tokens", instant(NOON_MS - 2 * HOUR_MS), 40, 0, 0, 0, "agrees"),
        ("tokens", NOON, 9, 9, 9, 0, "agrees"),
        ("tokens", instant(NOON_MS + HOUR_MS), 100, 100, 100, 0, "agrees"),
    ]
    assert all(row.settled for row in rows)
    assert reconciliation.differences(ledger.writer) == {"tokens": 0, "seconds": 0, "runs": 0}


def test_not_settled(ledger: TrueLedger):
    """Stripe lags: what was acknowledged less than two hours before the reading need not be in it."""
    _sent(ledger, ACK)
    ledger.read("tokens", hours(), SETTLED_MS - 1_000)
    row = _row(ledger)
    assert (row.explanation, row.difference, row.settled) == ("not_settled", -9, False)


def test_unread_is_not_settled(ledger: TrueLedger):
    _sent(ledger, ACK)
    row = _row(ledger)
    assert (row.explanation, row.quantity_stripe, row.difference, row.read_at) == ("not_settled", None, None, None)


def test_unexplained_when_settled(ledger: TrueLedger):
    _sent(ledger, ACK)
    ledger.read("tokens", hours((1, 100)), SETTLED_MS)
    row = _row(ledger)
    assert (row.explanation, row.difference, row.settled) == ("unexplained", -9, True)
    assert reconciliation.differences(ledger.writer)["tokens"] == 9


def test_in_flight(ledger: TrueLedger):
    """A call without an answer stored yet: it was refused for a while, and is open; Stripe has it all the same."""
    _sent(ledger, RETRY)
    ledger.read("tokens", hours((0, 9)), SETTLED_MS)
    row = _row(ledger)
    assert (row.explanation, row.difference, row.quantity_in_flight, row.quantity_acknowledged) == ("in_flight", 9, 9, 0)


def test_unknown_outcome(ledger: TrueLedger):
    _sent(ledger, UNKNOWN)
    ledger.read("tokens", hours((0, 9)), SETTLED_MS)
    assert (_row(ledger).explanation, _row(ledger).difference) == ("unknown_outcome", 9)


def test_more_than_what_is_unknown_is_foreign(ledger: TrueLedger):
    _sent(ledger, UNKNOWN)
    ledger.read("tokens", hours((0, 10)), SETTLED_MS)
    assert _row(ledger).explanation == "foreign_event"


def test_rejected(ledger: TrueLedger):
    """Stripe said no and counted it all the same."""
    _sent(ledger, REJECT)
    ledger.read("tokens", hours((0, 9)), SETTLED_MS)
    assert (_row(ledger).explanation, _row(ledger).difference) == ("rejected", 9)


def test_foreign_event_in_an_hour_of_ours(ledger: TrueLedger):
    _sent(ledger, ACK)
    ledger.read("tokens", hours((0, 10), (1, 100)), SETTLED_MS)
    assert (_row(ledger).explanation, _row(ledger).difference) == ("foreign_event", 1)


def test_foreign_event_in_an_hour_without_ours(ledger: TrueLedger):
    told_story(ledger)
    ledger.read("tokens", hours((0, 9), (1, 100), (2, 7)), NOON_MS + 6 * HOUR_MS)
    row = _row(ledger, hour=2)
    assert (row.explanation, row.difference, row.quantity_ledger) == ("foreign_event", 7, 0)


def test_sent_twice(ledger: TrueLedger):
    """Two calls that may have arrived, the second answered: Stripe counted both."""
    _sent(ledger, UNKNOWN)
    ledger.send(ACK, SENT_MS + MINUTE_MS)
    ledger.read("tokens", hours((0, 18), (1, 100)), SETTLED_MS + HOUR_MS)
    assert (_row(ledger).explanation, _row(ledger).difference) == ("sent_twice", 9)


def test_one_call_is_never_sent_twice(ledger: TrueLedger):
    """The same surplus without a second call that may have arrived is not ours: a 429 did nothing."""
    _sent(ledger, RETRY)
    ledger.send(ACK, SENT_MS + MINUTE_MS)
    ledger.read("tokens", hours((0, 18), (1, 100)), SETTLED_MS + HOUR_MS)
    assert _row(ledger).explanation == "foreign_event"


def test_window_edge(ledger: TrueLedger):
    told_story(ledger)
    ledger.read("tokens", hours((0, 7), (1, 102)), NOON_MS + 6 * HOUR_MS)
    assert [(_row(ledger, hour=hour).explanation, _row(ledger, hour=hour).difference) for hour in (0, 1)] == [
        ("window_edge", -2),
        ("window_edge", 2),
    ]


def test_an_hour_that_disappears_is_read_as_zero(ledger: TrueLedger):
    """Stripe gives no row for an empty hour: what was there at the last reading is gone, not unread."""
    told_story(ledger)
    ledger.read("tokens", hours((0, 9)), NOON_MS + 6 * HOUR_MS)
    assert (_row(ledger, hour=1).explanation, _row(ledger, hour=1).quantity_stripe) == ("unexplained", 0)
    ((previous, previous_read_at),) = ledger.rows(
        "select previous_quantity, previous_read_at from ops.stripe_summary where hour_start = %s and lane_id = %s",
        instant(NOON_MS + HOUR_MS),
        ledger.lane("tokens"),
    )
    assert (previous, previous_read_at) == (100, instant(NOON_MS + 5 * HOUR_MS))


def test_an_older_reading_changes_nothing(ledger: TrueLedger):
    told_story(ledger)
    ledger.read("tokens", hours(), NOON_MS + 4 * HOUR_MS)
    assert _row(ledger).quantity_stripe == 9


def _sent_under_a_plan(ledger: TrueLedger) -> None:
    captured_story(ledger)
    ledger.admin.execute(
        "insert into ledger.plan_fact (customer, plan, effective_from, subscription_id, cause_key, recorded_at)"
        " values ('acme', 'basic', %s, 'sub_1', 'one', ops.now())",
        (instant(NOON_MS - HOUR_MS),),
    )
    ledger.arm()
    ledger.cut(SENT_MS)
    ledger.send(ACK, SENT_MS)
    ledger.admin.execute("insert into ledger.lane (stripe_customer, stripe_event_name) values ('cus_acme', 'runs_pro')")


def test_a_lane_that_agrees_does_not_hide_one_that_does_not(ledger: TrueLedger):
    _sent_under_a_plan(ledger)
    ledger.read("runs_basic", hours((0, 1)), SETTLED_MS)
    ledger.read("runs_pro", hours((0, 3)), SETTLED_MS)
    assert (_row(ledger, "runs").explanation, _row(ledger, "runs").difference) == ("foreign_event", 3)


def test_plans_of_one_meter_do_not_hide_each_other(ledger: TrueLedger):
    """Two lanes of meter runs, one with a unit too much, one with a unit too little: the hour's difference is 0, and no agreement."""
    _sent_under_a_plan(ledger)
    ledger.read("runs_basic", hours((0, 0)), SETTLED_MS)
    ledger.read("runs_pro", hours((0, 1)), SETTLED_MS)
    row = _row(ledger, "runs")
    assert (row.difference, row.quantity_acknowledged) == (0, 1)
    assert row.explanation == "unexplained"


def test_a_float_is_taken_by_its_shortest_text():
    """0.29 × 100 is 28.999… in floats: an int() of it would be a unit short."""
    from services.reconciler.core.figures import figure_of

    assert int(0.29 * 100) == 28
    assert figure_of(0, [0.29], 2).quantity == 29
