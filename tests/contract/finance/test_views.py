"""The finance views on the usage story: every figure below follows from that page by hand."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.conftest import Database
from tests.makers.true_ledger import HOUR_MS, MINUTE_MS, NOON_MS, REJECT, UNKNOWN, TrueLedger, true_ledger
from tests.makers.usage_story import captured_story, told_story
from trueup.ledger.store import customers
from trueup.ledger.store.connection import connect
from trueup.ledger.store.instants import instant

DAY = date(2026, 9, 21)
PLAIN_TYPES = {"text", "bigint", "integer", "numeric", "boolean", "date", "timestamp with time zone"}
# Contract §5, for the views whose data exists.
CONTRACT = {
    "usage_by_customer_day": "customer_id meter usage_date_utc booked_on quantity quantity_smallest unit event_count",
    "adjustments": "adjustment_id booked_on customer_id meter quantity quantity_smallest amount_minor currency kind reason source event_id"
    " corrects_event_id period_start period_end invoice_id credit_note_id decided_by status",
    "unbilled_usage": "customer_id meter period_start period_end subscription_item_id hour quantity quantity_smallest state oldest_event_at"
    " deadline amount_at_risk_minor currency as_of",
    "review_queue": "review_id kind customer_id meter period_start first_event_time late_by quantity amount_minor currency deadline status"
    " decision decided_by decided_at reason",
    "stripe_reconciliation": "customer_id meter hour_start quantity_ledger quantity_acknowledged quantity_in_flight quantity_stripe"
    " difference explanation read_at settled",
    "event_journey": "source event_id step at detail",
    "proof": "check_name status evaluated violations pending oldest_pending_at pending_limit_seconds basis_as_of meaning checked_at",
}


@pytest.fixture
def ledger(database: Database):
    with true_ledger(database) as made:
        yield made


@pytest.fixture
def finance(database: Database, ledger: TrueLedger):
    """As a person of finance connects."""
    with connect(database.dsn_of("finance_ro"), "test") as opened:
        opened.row_factory = dict_row
        yield opened


def _rows(finance: psycopg.Connection, question: str):
    return finance.execute(question.encode()).fetchall()


def _at(minutes: int):
    return instant(NOON_MS + minutes * MINUTE_MS)


def test_usage_by_customer_day(ledger: TrueLedger, finance: psycopg.Connection):
    captured_story(ledger)
    found = _rows(finance, "select * from finance.usage_by_customer_day order by customer_id, meter")
    columns = ("customer_id", "meter", "usage_date_utc", "booked_on", "quantity", "quantity_smallest", "unit", "event_count")
    assert [tuple(row[name] for name in columns) for row in found] == [
        ("acme", "runs", DAY, DAY, 1, 1, "run", 1),
        ("acme", "seconds", DAY, DAY, Decimal("1.50"), 150, "second", 1),
        ("acme", "tokens", DAY, DAY, 149, 149, "token", 5),
        ("globex", "tokens", DAY, DAY, 9, 9, "token", 1),
    ]
    assert str(found[1]["quantity"]) == "1.50"


def test_unbilled_usage_before_dispatch(ledger: TrueLedger, finance: psycopg.Connection):
    captured_story(ledger)
    assert _unbilled(finance) == {
        ("acme", "runs", _at(0), "unsent"): 1,
        ("acme", "seconds", _at(0), "unsent"): 150,
        ("acme", "tokens", _at(0), "unsent"): 9,
        ("acme", "tokens", _at(60), "unsent"): 100,
        ("acme", "tokens", _at(-120), "in_review"): 40,
        ("globex", "tokens", _at(0), "unmapped"): 9,
    }


def test_unbilled_usage_names_what_keeps_it_off(ledger: TrueLedger, finance: psycopg.Connection):
    """The first call of each lane has no answer: the noon segments are unknown, 13:00 waits in flight; runs have no plan."""
    captured_story(ledger)
    ledger.arm()
    ledger.cut(NOON_MS + 2 * HOUR_MS)
    ledger.send(UNKNOWN, NOON_MS + 2 * HOUR_MS)
    assert _unbilled(finance) == {
        ("acme", "runs", _at(0), "no_plan"): 1,
        ("acme", "seconds", _at(0), "unknown"): 150,
        ("acme", "tokens", _at(0), "unknown"): 9,
        ("acme", "tokens", _at(60), "in_flight"): 100,
        ("acme", "tokens", _at(-120), "in_review"): 40,
        ("globex", "tokens", _at(0), "unmapped"): 9,
    }
    (row,) = _rows(finance, "select * from finance.unbilled_usage where state = 'unknown' and meter = 'seconds'")
    assert (str(row["quantity"]), row["oldest_event_at"], row["as_of"]) == ("1.50", _at(4), _at(120))


def test_unbilled_usage_after_answers(ledger: TrueLedger, finance: psycopg.Connection):
    told_story(ledger)
    found = _unbilled(finance)
    assert {state for *_rest, state in found} == {"acknowledged_not_invoiced", "in_review", "no_plan", "unmapped"}
    assert found["acme", "tokens", _at(60), "acknowledged_not_invoiced"] == 100


def test_rejected_usage_is_unbilled(ledger: TrueLedger, finance: psycopg.Connection):
    captured_story(ledger)
    ledger.arm()
    ledger.cut(NOON_MS + 2 * HOUR_MS)
    ledger.send(REJECT, NOON_MS + 2 * HOUR_MS)
    assert _unbilled(finance)["acme", "tokens", _at(0), "rejected"] == 9


def _unbilled(finance: psycopg.Connection):
    rows = _rows(finance, "select * from finance.unbilled_usage")
    found = {(row["customer_id"], row["meter"], row["hour"], row["state"]): row["quantity_smallest"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_adjustments(ledger: TrueLedger, finance: psycopg.Connection):
    captured_story(ledger)
    (row,) = _rows(finance, "select * from finance.adjustments")
    assert (row["kind"], row["customer_id"], row["meter"], row["quantity"], row["quantity_smallest"]) == (
        *("refund", "acme", "tokens", Decimal(-3), -3),
    )
    assert (row["reason"], row["source"], row["event_id"], row["corrects_event_id"], row["status"], row["booked_on"]) == (
        *("refund", "inference", "e3", "e1", "booked", DAY),
    )
    assert len(row["adjustment_id"]) == 36


def test_an_adjustment_says_where_it_ended(ledger: TrueLedger, finance: psycopg.Connection):
    """Late is not all that decides: who is never billed has nothing to be reviewed."""
    from tests.makers.capture_batches import make_announced, make_event, make_forwarded

    customers.never_bill(ledger.writer, "acme", reason="internal", recorded_by="kim")
    late = make_event("r1", quantity=-2, reason="refund")
    ledger.capture(make_announced(first_offset=0, late=[make_forwarded(0, late, arrival_ms=NOON_MS + 9 * HOUR_MS)], progress_offset=0))
    (row,) = _rows(finance, "select status from finance.adjustments")
    assert row["status"] == "waived"


def test_review_queue(ledger: TrueLedger, finance: psycopg.Connection):
    """l1 happened 90 min before noon and arrived 20 min 1 s after it: 65 min 1 s beyond the window of 45 min."""
    captured_story(ledger)
    conflict, late = _rows(finance, "select * from finance.review_queue order by kind")
    assert (conflict["kind"], conflict["customer_id"], conflict["meter"], conflict["quantity"], conflict["late_by"]) == (
        *("conflict", "acme", "tokens", 6, None),
    )
    assert (late["kind"], late["quantity"], late["late_by"], late["first_event_time"]) == ("late", 40, 65 * 60 + 1, _at(-90))
    assert {row["status"] for row in (conflict, late)} == {"open"}
    assert {row["period_start"].isoformat() for row in (conflict, late)} == {"2026-09-01T00:00:00+00:00"}
    assert conflict["review_id"] != late["review_id"]


def test_a_case_grows(ledger: TrueLedger, finance: psycopg.Connection):
    """More late usage of the same customer, meter, month and source is the same case; of another source it is another."""
    from tests.makers.capture_batches import make_announced, make_event, make_forwarded

    captured_story(ledger)
    (before,) = _rows(finance, "select review_id from finance.review_queue where kind = 'late'")
    more = [
        make_forwarded(13, make_event("l2", event_time_ms=NOON_MS - 100 * MINUTE_MS, quantity=2), arrival_ms=NOON_MS + 62 * MINUTE_MS),
        make_forwarded(
            14, make_event("l1", source="other", event_time_ms=NOON_MS - 100 * MINUTE_MS, quantity=5), arrival_ms=NOON_MS + 62 * MINUTE_MS
        ),
    ]
    ledger.capture(make_announced(first_offset=13, late=more, progress_offset=2))
    rows = {row["source"]: row for row in _rows(finance, "select * from finance.review_queue where kind = 'late'")}
    assert rows["inference"]["review_id"] == before["review_id"]
    assert (rows["inference"]["quantity"], rows["inference"]["event_count"]) == (42, 2)
    assert (rows["other"]["quantity"], rows["other"]["event_count"]) == (5, 1)


def test_the_life_of_one_event(ledger: TrueLedger, finance: psycopg.Connection):
    told_story(ledger)
    rows = _rows(finance, "select * from finance.event_journey where source = 'inference' and event_id = 'e1' order by at, place")
    assert [row["step"] for row in rows] == [
        *("arrived", "decided", "captured", "posted", "duplicate", "cut", "attempted", "answered", "summarized"),
    ]
    assert rows[0]["detail"].startswith("partition 0, offset 0;")
    (identifier,) = ledger.rows("select identifier from ledger.intent where quantity = 9")[0]
    assert str(identifier) in rows[5]["detail"]
    assert rows[-1]["detail"].endswith("Stripe counts 9, 9 acknowledged: agrees")


def test_other_lives(ledger: TrueLedger, finance: psycopg.Connection):
    told_story(ledger)
    steps: dict[str, list[str]] = {}
    for row in _rows(finance, "select event_id, step from finance.event_journey order by at, place"):
        steps.setdefault(row["event_id"], []).append(row["step"])
    assert steps["n1"] == ["refused"]
    assert steps["l1"] == ["arrived", "decided", "captured", "posted"]
    assert steps["g1"] == ["arrived", "decided", "captured", "posted"]
    assert "conflict" in steps["e2"]
    (posted,) = _rows(finance, "select detail from finance.event_journey where event_id = 'l1' and step = 'posted'")
    assert posted["detail"].startswith("usage to in_review;")


@pytest.mark.parametrize("view", CONTRACT)
def test_columns_of_the_contract(database: Database, view: str):
    """The contract's columns, in its order, come first; what is added comes behind."""
    with psycopg.connect(database.dsn) as connection:
        found = [
            str(row[0])
            for row in connection.execute(
                "select attname from pg_attribute where attrelid = ('finance.' || %s)::regclass and attnum > 0 order by attnum", (view,)
            )
        ]
    wanted = CONTRACT[view].split()
    assert found[: len(wanted)] == wanted


def test_everything_in_finance_says_what_it_is(database: Database):
    """Every view and column has a comment, and a type that a spreadsheet can show."""
    with psycopg.connect(database.dsn) as connection:
        rows = connection.execute(
            """select c.relname, a.attname, format_type(a.atttypid, null), col_description(c.oid, a.attnum),
                   obj_description(c.oid, 'pg_class'), pg_get_userbyid(c.relowner), coalesce(array_to_string(c.reloptions, ','), '')
               from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
               where n.nspname = 'finance'"""
        ).fetchall()
    assert len({row[0] for row in rows}) >= len(CONTRACT)
    assert [row[:2] for row in rows if not row[3] or not row[4]] == []
    assert {row[2] for row in rows} <= PLAIN_TYPES
    assert {row[5] for row in rows} == {"trueup_owner"}
    assert not any("security_invoker=true" in row[6] for row in rows)
