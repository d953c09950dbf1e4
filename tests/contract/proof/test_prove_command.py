"""`trueup prove` as a script calls it: the rows on stdout, the reason on stderr, the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.makers.invoiced_story import invoiced_story
from tests.makers.true_ledger import TrueLedger, true_ledger
from trueup.cli.__main__ import run

CONTRACT = (
    "check_name",
    "status",
    "evaluated",
    "violations",
    "pending",
    "oldest_pending_at",
    "pending_limit_seconds",
    "basis_as_of",
    "meaning",
    "checked_at",
)


@pytest.fixture
def ledger(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrueLedger]:
    """One that the command finds by its environment."""
    monkeypatch.setenv("TRUEUP_POSTGRES_DSN", database.dsn)
    with true_ledger(database) as made:
        yield made


def test_the_exit_code_of_a_true_ledger_an_empty_one_and_one_that_lost_something(
    ledger: TrueLedger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["prove"]) == 0
    assert run(["prove", "--require", "all"]) == 1
    invoiced_story(ledger)
    capsys.readouterr()
    assert run(["prove", "--deep", "--require", "all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {tuple(row) for row in rows} == {CONTRACT}
    assert {row["status"] for row in rows} == {"ok"}
    with ledger.sabotage() as hand:
        hand.execute("delete from ledger.event where id = 'e1'")
    assert run(["prove", "--json"]) == 1
    said = capsys.readouterr()
    violated = {row["check_name"] for row in json.loads(said.out) if row["status"] == "violated"}
    assert {"accounts_zero_sum", "on_time_and_late_captured"} <= violated
    assert "accounts_zero_sum is violated (1 violations)" in said.err
    assert run(["prove", "--require", "some"]) == 2
