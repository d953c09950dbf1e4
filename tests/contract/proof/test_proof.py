"""The proof on a small ledger that is true, and what its statuses mean for the exit code."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from tests.conftest import Database
from tests.makers.invoiced_story import invoiced_story
from tests.makers.true_ledger import ACK, HOUR_MS, NOON_MS, UNKNOWN, TrueLedger, hours, true_ledger
from tests.makers.usage_story import captured_story, told_story
from trueup.ledger.store import proof
from trueup.ledger.store.connection import connect

# Everything of contract §6a but `corrections_idempotent`: corrections are not built yet.
CHECKS = [
    "source_without_gap",
    "arrived_equals_decided",
    "on_time_and_late_captured",
    "one_row_per_identity",
    "accounts_zero_sum",
    "no_negative_holding",
    "intent_covers_postings_once",
    "outcome_state_machine",
    "nothing_past_horizon",
    "nothing_past_deadline",
    "hours_equal_summaries",
    "lines_equal_ledger",
    "amounts_equal_invoice",
    "append_only_guards",
    "roles_and_grants",
    "chain_sealed",
    "totals_rebuilt_from_events",
    "postings_rebuilt_digest",
]


@pytest.fixture
def ledger(database: Database):
    with true_ledger(database) as made:
        yield made


def _statuses(ledger: TrueLedger) -> dict[str, str]:
    return {check.check_name: check.status for check in proof.prove(ledger.writer, deep=True).checks}


def test_a_true_ledger_is_proved(ledger: TrueLedger):
    invoiced_story(ledger)
    proved = proof.prove(ledger.writer, deep=True)
    assert [check.check_name for check in proved.checks] == CHECKS
    assert {check.status for check in proved.checks} == {"ok"}
    assert proof.verdict(proved.checks, require_all=True) == 0
    assert all(check.evaluated > 0 for check in proved.checks)
    assert proved.next_offset_of_partition == ((0, 13),)


def test_an_empty_ledger_proves_only_its_guards(ledger: TrueLedger):
    checks = proof.prove(ledger.writer, deep=True).checks
    assert {check.check_name for check in checks if check.status == "ok"} == {"append_only_guards", "roles_and_grants"}
    assert {check.status for check in checks} == {"ok", "empty"}
    assert proof.verdict(checks) == 0
    assert proof.verdict(checks, require_all=True) == 1


def test_finance_reads_the_same_proof(ledger: TrueLedger, database: Database):
    """The readers' role may read it, deep checks too, and may read no table behind it."""
    invoiced_story(ledger)
    for role in ("finance_ro", "usage_ro"):
        with connect(database.dsn_of(role), "test") as reader:
            assert {check.status for check in proof.prove(reader, deep=True).checks} == {"ok"}
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute("select 1 from ledger.event")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute("select 1 from ops.source_offset")


def test_one_snapshot_for_all_checks(ledger: TrueLedger):
    """What is committed while the checks run is in none of them."""
    told_story(ledger)
    with ledger.writer.transaction():
        ledger.writer.execute("set transaction isolation level repeatable read, read only")
        before = ledger.writer.execute("select evaluated from finance.proof where check_name = 'one_row_per_identity'").fetchone()
        with ledger.sabotage() as hand:
            hand.execute("delete from ledger.event where id = 'e1'")
        after = ledger.writer.execute("select evaluated from finance.proof where check_name = 'one_row_per_identity'").fetchone()
    assert before == after == (8,)


def test_work_on_its_way_is_pending_and_then_violated(ledger: TrueLedger):
    captured_story(ledger)
    ledger.arm()
    ledger.cut(NOON_MS + 2 * HOUR_MS)
    ledger.send(UNKNOWN, NOON_MS + 2 * HOUR_MS)
    assert _statuses(ledger)["outcome_state_machine"] == "pending"
    assert _statuses(ledger)["hours_equal_summaries"] == "pending"
    ledger.set_now(NOON_MS + 51 * HOUR_MS)
    assert _statuses(ledger)["outcome_state_machine"] == "violated"


def test_readings_grow_stale(ledger: TrueLedger):
    """An old reading of an hour that somebody may still change proves nothing; one of an hour out of Stripe's reach does."""
    told_story(ledger)
    ledger.admin.execute("insert into ops.reconciliation (read_age_seconds) values (86400)")
    ledger.set_now(NOON_MS + (5 + 24) * HOUR_MS)
    assert _statuses(ledger)["hours_equal_summaries"] == "ok"
    ledger.set_now(NOON_MS + (5 + 24) * HOUR_MS + 1_000)
    assert _statuses(ledger)["hours_equal_summaries"] == "stale"
    ledger.set_now(NOON_MS + 36 * 24 * HOUR_MS)
    assert _statuses(ledger)["hours_equal_summaries"] == "stale", "where nothing was ever sent somebody may send any day"
    ledger.read_silence(NOON_MS + 36 * 24 * HOUR_MS)
    assert _statuses(ledger)["hours_equal_summaries"] == "ok"


def test_a_reading_from_before_the_last_answer_is_pending_then_stale(ledger: TrueLedger):
    captured_story(ledger)
    ledger.arm()
    ledger.cut(NOON_MS + 2 * HOUR_MS)
    ledger.send(UNKNOWN, NOON_MS + 2 * HOUR_MS)
    ledger.read("tokens", hours((0, 9)), NOON_MS + 2 * HOUR_MS + 1_000)
    ledger.read("seconds", hours((0, 150)), NOON_MS + 2 * HOUR_MS + 1_000)
    ledger.send(ACK, NOON_MS + 3 * HOUR_MS)
    ledger.admin.execute("insert into ops.reconciliation (read_age_seconds) values (86400)")
    assert _statuses(ledger)["hours_equal_summaries"] == "pending"
    ledger.set_now(NOON_MS + (3 + 24) * HOUR_MS + 1_000)
    assert _statuses(ledger)["hours_equal_summaries"] == "stale"


def _check(status: str, required: bool = False) -> proof.Check:
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    return proof.Check("any", status, 1, 0, 0, None, None, moment, "means", moment, 0, required)


@pytest.mark.parametrize(
    ("rows", "require_all", "code"),
    [
        ([_check("ok")], True, 0),
        ([_check("ok"), _check("pending")], True, 0),
        ([_check("ok"), _check("violated")], False, 1),
        ([_check("ok"), _check("stale")], False, 1),
        ([_check("ok"), _check("empty")], False, 0),
        ([_check("ok"), _check("empty")], True, 1),
        ([_check("ok"), _check("empty", required=True)], False, 1),
    ],
)
def test_verdict(rows, require_all, code):
    assert proof.verdict(rows, require_all) == code


def test_no_checks_prove_nothing():
    with pytest.raises(ValueError):
        proof.verdict([])
    assert proof.verdict([replace(_check("ok"), evaluated=0)]) == 0
