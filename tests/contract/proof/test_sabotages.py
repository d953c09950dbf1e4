"""Each check is tripped by name: a true ledger, one hand in it, and exactly the checks that must notice do.

`also` names the other checks that the same hand cannot help but trip; every check that is not named stays ok.
"""

from __future__ import annotations

import psycopg
import pytest

from devstack.postgres import Postgres
from tests.conftest import Database
from tests.conftest import _database as make_database
from tests.contract.proof.test_proof import CHECKS
from tests.makers.invoiced_story import invoiced_story
from tests.makers.never_billed_story import never_billed_story
from tests.makers.sabotages import SABOTAGES, Sabotage
from tests.makers.true_ledger import true_ledger
from trueup.ledger.store import proof


@pytest.fixture(scope="module")
def told(postgres_server: Postgres, _template: str):
    """One true ledger for all: every hand's work is rolled back."""
    for database in make_database(postgres_server, _template):
        with true_ledger(database) as ledger:
            invoiced_story(ledger)
            never_billed_story(ledger)
        yield database


def _statuses_after(database: Database, statement: str, *, through_guards: bool) -> dict[str, str]:
    """What the proof says in the very transaction of the sabotage, which is never committed."""
    with psycopg.connect(database.dsn) as hand:
        tables = [row[0] for row in hand.execute("select format('ledger.%I', tablename) from pg_tables where schemaname = 'ledger'")]
        if not through_guards:
            for table in tables:
                hand.execute(f"alter table {table} disable trigger user".encode())
        hand.execute(statement.encode())
        if not through_guards:
            for table in tables:
                hand.execute(f"alter table {table} enable always trigger refuse_row_change".encode())
                hand.execute(f"alter table {table} enable always trigger refuse_truncate".encode())
        found = dict(hand.execute("select check_name, status from derived.proof").fetchall())
        hand.rollback()
    return found


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.name)
def test_the_check_notices(told: Database, sabotage: Sabotage):
    statuses = _statuses_after(told, sabotage.statement, through_guards=sabotage.check == "append_only_guards")
    assert statuses == {name: "violated" if name == sabotage.check or name in sabotage.also else "ok" for name in CHECKS}


def test_without_sabotage_nothing_is_noticed(told: Database):
    assert _statuses_after(told, "select 1", through_guards=False) == dict.fromkeys(CHECKS, "ok")


def test_every_check_has_its_sabotage():
    assert {sabotage.check for sabotage in SABOTAGES} == set(CHECKS)


def test_the_exit_code_of_a_committed_sabotage(database: Database):
    """Once the whole way: committed, seen through the store by the writer, told by the exit code."""
    with true_ledger(database) as ledger:
        invoiced_story(ledger)
        with ledger.sabotage() as hand:
            hand.execute("update ledger.event set reason = 'other' where id = 'e3'")
        checks = proof.prove(ledger.writer).checks
        assert [check.check_name for check in proof.failures(checks)] == ["chain_sealed"]
        assert proof.verdict(checks) == 1
