"""Customers as the command line asks for them: a slip of the hand is told apart from nothing to show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Database
from trueup.cli.__main__ import run
from trueup.ledger.store import customers
from trueup.ledger.store.connection import connect


@pytest.mark.parametrize("verb", [("period", "show"), ("customers", "list"), ("stripe", "status", "--customer")])
def test_nothing_found_is_no_answer_for_a_customer_that_nobody_knows(
    verb: tuple[str, ...], database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script that asks for `acmee` is told no, and one that asks for a customer without periods is not."""
    monkeypatch.setenv("TRUEUP_POSTGRES_DSN", database.dsn)
    assert run([*verb, "acmee", "--json"]) == 1
    said = capsys.readouterr()
    assert "acmee" in said.err
    assert said.out.strip() in ("", "[]")
    with connect(database.writer_dsn, "test") as connection:
        assert customers.map_customer(connection, "acmee", "cus_acme", reason="a test's own", recorded_by="test")
        assert customers.is_known(connection, "acmee")
    run([*verb, "acmee", "--json"])
    said = capsys.readouterr()
    assert "acmee" not in said.err
    json.loads(said.out)


def test_an_empty_customer_is_refused_in_its_own_words(database: Database) -> None:
    """Not in those about Stripe's id, which is right."""
    with connect(database.writer_dsn, "test") as connection, pytest.raises(customers.RefusedMapping, match="not empty"):
        customers.map_customer(connection, "", "cus_acme", reason="a test's own", recorded_by="test")


@pytest.mark.parametrize("spelt", ["cus_a b", "cus_", "cus_a\n", "cus_\u00e4", "acme", " cus_a"])
def test_what_cannot_be_a_stripe_customer_is_refused(spelt: str, database: Database) -> None:
    with connect(database.writer_dsn, "test") as connection, pytest.raises(customers.RefusedMapping, match="no Stripe customer"):
        customers.map_customer(connection, "acme", spelt, reason="a test's own", recorded_by="test")


def test_a_file_that_contradicts_itself_maps_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A mapping that was left is not taken up again: the first of the two ids would be lost for ever. Lines are those of the file."""
    monkeypatch.setenv("TRUEUP_POSTGRES_DSN", database.dsn)
    file = tmp_path / "customers.csv"
    file.write_text("customer,stripe_customer\nacme,cus_1\n\nacme,cus_1\nacme,cus_2\n")
    assert run(["customers", "import", str(file), "--reason", "test", "--yes", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["mapped"], [(row["line"], row["detail"]) for row in said["refused"]]) == (
        0,
        [(5, "acme stands there twice: as cus_1 too")],
    )
    with connect(database.writer_dsn, "test") as connection:
        assert customers.timeline(connection) == []
