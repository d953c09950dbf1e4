"""What an exit code means: 1 is an answer, 2 says that nobody could be asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devstack.places import LOOPBACK, free_port
from tests.conftest import Database
from tests.makers.invoiced_story import invoiced_story
from tests.makers.true_ledger import true_ledger
from trueup.cli.__main__ import run

EXAMPLE = Path(__file__).parents[3] / "deploy" / "catalogue.example.toml"


@pytest.mark.parametrize("verb", [("reconcile",), ("period", "preview", "acme")])
def test_a_stripe_that_is_away_is_no_answer(
    verb: tuple[str, ...], database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script must not take it for a difference."""
    monkeypatch.setenv("TRUEUP_POSTGRES_DSN", database.dsn)
    monkeypatch.setenv("TRUEUP_STRIPE_URL", f"http://{LOOPBACK}:{free_port()}")
    monkeypatch.setenv("TRUEUP_STRIPE_API_KEY", "sk_test_of_nobody")
    with true_ledger(database) as ledger:
        invoiced_story(ledger)
        assert run([*verb, "--json"]) == 2
    assert "Stripe" in capsys.readouterr().err


def test_nobody_to_compare_is_an_empty_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUEUP_POSTGRES_DSN", database.dsn)
    monkeypatch.setenv("TRUEUP_STRIPE_API_KEY", "sk_test_of_nobody")
    assert run(["reconcile", "--customer", "nobody", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == []


def test_a_period_is_shown_as_the_view_has_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUEUP_POSTGRES_DSN", database.dsn)
    with true_ledger(database) as ledger:
        invoiced_story(ledger)
        view = ledger.admin.execute("select * from finance.period_status")
        run(["period", "show", "acme", "--json"])
        rows = json.loads(capsys.readouterr().out)
        assert rows
        assert set(rows[0]) == {column.name for column in view.description or ()}


def test_a_grace_that_stripe_does_not_have_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Deadlines would lie behind the invoice."""
    file = tmp_path / "catalogue.toml"
    text = EXAMPLE.read_text()
    assert 'finalization_grace = "PT24H"' in text
    file.write_text(text.replace('finalization_grace = "PT24H"', 'finalization_grace = "PT72H"'))
    assert run(["catalogue", "check", str(file)]) == 0
    file.write_text(text.replace('finalization_grace = "PT24H"', 'finalization_grace = "PT96H"'))
    assert run(["catalogue", "check", str(file)]) == 1
    assert "72 h" in capsys.readouterr().err


def test_what_is_set_and_not_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """While a street runs here, its own settings are asked: a new key is not looked at by setting it alone."""
    street = {
        "kafka_bootstrap": "127.0.0.1:1",
        "postgres_dsn": "host=127.0.0.1 port=1",
        "stripe_url": "http://127.0.0.1:1",
        "stripe_api_key": "k",
    }
    (tmp_path / "street.json").write_text(json.dumps(street))
    monkeypatch.setattr("trueup.cli.target.state_file", lambda: tmp_path / "street.json")
    monkeypatch.setenv("TRUEUP_STRIPE_API_KEY", "sk_test_wrong")
    assert run(["period", "show"]) == 2
    assert "TRUEUP_STRIPE_API_KEY is used with TRUEUP_KAFKA_BOOTSTRAP only" in capsys.readouterr().err


def test_a_role_that_may_not_migrate_is_told_so(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address that rooms are given is no address to migrate with."""
    monkeypatch.setenv("TRUEUP_POSTGRES_DSN", database.writer_dsn)
    assert run(["migrate"]) == 2
    assert "another database role" in capsys.readouterr().err
