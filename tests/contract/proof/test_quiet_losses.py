"""Hands that lose or move money without breaking a sum: what lies beside the ledger, and inside a body, is looked at too."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from devstack.postgres import Postgres
from services.stripe_sink.core.dispatch_intent import canonical
from tests.conftest import Database
from tests.conftest import _database as make_database
from tests.contract.proof.test_proof import CHECKS
from tests.contract.proof.test_sabotages import _statuses_after
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.invoiced_story import invoiced_story
from tests.makers.sabotages import Sabotage
from tests.makers.true_ledger import HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, true_ledger

# Captured at 18:10 and cut at 19:00; captured at 19:00 and not cut.
CUT_MS = NOON_MS + 7 * HOUR_MS
BODY = "intent_covers_postings_once"

SABOTAGES = [
    Sabotage(
        "the last capture of a partition is lost with everything that names it",
        "source_without_gap",
        """delete from ledger.event where batch_id = (select max(batch_id) from ledger.source_batch);
           delete from ledger.posting where batch_id = (select max(batch_id) from ledger.source_batch);
           delete from ledger.batch where batch_id = (select max(batch_id) from ledger.source_batch);
           delete from ledger.source_batch where batch_id = (select max(batch_id) from ledger.source_batch)""",
    ),
    Sabotage(
        "the only capture of a partition is lost",
        "source_without_gap",
        """delete from ledger.source_batch where source_partition = 1;
           delete from ledger.batch where kind = 'capture' and batch_id not in (select batch_id from ledger.source_batch)""",
    ),
    *[
        Sabotage(
            f"the position stands {where} what was captured",
            "source_without_gap",
            f"update ops.source_offset set next_offset = next_offset {step} where topic = 'progress' and partition = 0",
        )
        for where, step in (("ahead of", "+ 1"), ("behind", "- 1"))
    ],
    Sabotage("the position is lost", "source_without_gap", "delete from ops.source_offset where topic = 'progress' and partition = 0"),
    Sabotage("usage that waits for a customer is forgotten", BODY, "delete from ops.uncovered_segment where waits_for = 'unmapped'"),
    Sabotage("everything that waits to be cut is forgotten", BODY, "delete from ops.uncovered_segment"),
    Sabotage(
        "an intent without an end is forgotten by the lanes, never called",
        "outcome_state_machine",
        "delete from ops.open_intent",
    ),
    Sabotage(
        "an intent that has its end is work again",
        "outcome_state_machine",
        """insert into ops.open_intent (intent_id, lane_id, subject_id, hour_start)
           select intent_id, lane_id, subject_id, date_trunc('hour', stripe_timestamp, 'UTC') from ledger.intent where quantity = 9""",
    ),
    Sabotage(
        "two customers change places",
        "totals_rebuilt_from_events",
        """update ledger.subject set customer = '~' where customer = 'acme' and meter = 'tokens';
           update ledger.subject set customer = 'acme' where customer = 'globex' and meter = 'tokens';
           update ledger.subject set customer = 'globex' where customer = '~'""",
    ),
    Sabotage(
        "usage counts under a number that no customer has",
        "totals_rebuilt_from_events",
        "delete from ledger.subject where customer = 'globex'",
    ),
    *[
        Sabotage(
            f"an intent's body names another {what}",
            BODY,
            f"update ledger.intent set body = jsonb_set(body, '{path}', '{value}') where quantity = 9",
        )
        for what, path, value in (
            ("meter", "{event_name}", '"seconds"'),
            ("customer", "{payload,stripe_customer_id}", '"cus_globex"'),
            ("identifier", "{identifier}", '"other"'),
            ("timestamp", "{timestamp}", "1"),
        )
    ],
    Sabotage(
        "an intent's body says more than it should",
        BODY,
        """update ledger.intent set body = body || '{"more": 1}' where quantity = 9""",
    ),
    Sabotage(
        "a body is not the one that was hashed",
        BODY,
        "update ledger.intent set body_sha256 = 'x' where quantity = 9",
    ),
    Sabotage("a refused record is changed", "chain_sealed", "update ledger.refusal set record = 'x' where source_offset = 7"),
    Sabotage("a refused record is thrown away", "chain_sealed", "update ledger.refusal set record = null where source_offset = 7"),
]


@pytest.fixture(scope="module")
def told(postgres_server: Postgres, _template: str) -> Iterator[Database]:
    """A true ledger with an intent that was not called yet, a partition that sold nothing, and a capture that no cut has seen."""
    for database in make_database(postgres_server, _template):
        with true_ledger(database) as ledger:
            invoiced_story(ledger)
            _capture(ledger, "open", CUT_MS - 50 * MINUTE_MS, first_offset=13, progress_offset=2)
            assert ledger.cut(CUT_MS) == 1
            ledger.capture(make_announced(partition=1, dropped=[make_event("dropped")]), partition=1)
            _capture(ledger, "uncut", CUT_MS, first_offset=14, progress_offset=3)
        yield database


def _capture(ledger: TrueLedger, id: str, now_ms: int, *, first_offset: int, progress_offset: int) -> None:
    ledger.set_now(now_ms)
    event = make_event(id, event_time_ms=now_ms - MINUTE_MS, quantity=4)
    record = make_forwarded(first_offset, event, arrival_ms=now_ms)
    ledger.capture(make_announced(first_offset=first_offset, on_time=[record], progress_offset=progress_offset))


def test_without_sabotage_nothing_is_noticed(told: Database):
    assert _statuses_after(told, "select 1", through_guards=False) == dict.fromkeys(CHECKS, "ok")


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.name)
def test_the_check_notices(told: Database, sabotage: Sabotage):
    statuses = _statuses_after(told, sabotage.statement, through_guards=False)
    assert statuses == {name: "violated" if name == sabotage.check or name in sabotage.also else "ok" for name in CHECKS}


@pytest.mark.parametrize("text", ["plain", 'a "quoted" \\ back / slash', "tab\tline\nbell\x07delete\x7f", "Grüße 漢字", "beyond 😀 all"])
def test_a_body_is_written_as_dispatch_writes_it(told: Database, text: str):
    """The hash is made anew in SQL, so both must write any text alike."""
    with psycopg.connect(told.dsn) as connection:
        written = connection.execute("select derived.canonical_json_text(%s)", (text,)).fetchone()
    assert written == (canonical({"": text})[4:-1],)
