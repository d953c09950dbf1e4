"""What the `trueup` command promises before it reaches any server: exit codes, sentences, help for every verb."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
import typer

from trueup.cli import catalogue_topic
from trueup.cli.__main__ import app, run
from trueup.cli.dispatching import countdown
from trueup.cli.events import chosen_format
from trueup.cli.faults import UsageFault

VERBS = (
    "up", "down", "status", "stripe-emulator", "migrate", "reconcile", "prove",
    "stripe arm", "stripe disarm", "stripe status", "topics plan", "topics apply", "catalogue check", "catalogue plan", "catalogue apply",
    "customers map", "customers list", "customers import", "customers never-bill",
    "keys create", "keys list", "keys revoke", "events send", "events explain", "rejected list", "rejected show", "rejected redrive",
    "doctor", "period show", "period preview",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No street runs in this folder and the environment names none."""
    for name in [name for name in os.environ if name.startswith("TRUEUP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRUEUP_DATA_DIR", str(tmp_path / "street"))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_json(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` stands on all of them."""
    assert run([*verb.split(), "--help"]) == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("noun", ["", *sorted({verb.split()[0] for verb in VERBS if " " in verb})])
def test_no_sentence_of_the_map_is_cut_off(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`trueup --help` is the map: each verb has one line of 80 columns, and says what it does within it."""
    assert run([*noun.split(), "--help"]) == 0
    lines = capsys.readouterr().out.partition("Commands:")[2].splitlines()
    assert len(lines) > 1
    assert [line for line in lines if line.endswith("...")] == []


@pytest.mark.parametrize(
    "verb",
    ["stripe arm", "stripe disarm", "customers map acme cus_1", "customers import {csv}", "customers never-bill a", "keys revoke 0123"],
)
def test_what_changes_money_asks_for_a_reason(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--reason`, or with a blank one, it is a usage error that says so."""
    csv = tmp_path / "customers.csv"
    csv.write_text("customer,stripe_customer\nacme,cus_1\n")
    arguments = verb.format(csv=csv).split()
    assert run([*arguments, "--yes"]) == 2
    assert "--reason" in capsys.readouterr().err
    assert run([*arguments, "--yes", "--reason", "  "]) == 2
    assert "blank" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["bogus"], "bogus"),
        (["prove", "--require", "some"], "all"),
        (["prove"], "trueup up"),
        (["events", "send", "nowhere.jsonl"], "nowhere.jsonl"),
        (["events", "explain", "only-a-source"], "ID"),
        (["rejected", "show", "three"], "PARTITION:OFFSET"),
        (["reconcile", "--from", "yesterday"], "yesterday"),
        (["reconcile", "--from", "2026-11-02T00:00:00Z", "--to", "2026-11-01T00:00:00Z"], "--to"),
        (["stripe-emulator", "--clock", "sundial"], "sundial"),
        (["stripe-emulator", "--port", "99999"], "--port"),
        (["events", "explain", "\udcff", "id"], "UTF-8"),
        (["up", "--clock", "sundial"], "sundial"),
        (["up", "--start", "2026-10-01T00:00:00Z"], "simulated"),
        (["catalogue", "check", "nowhere.toml"], "nowhere.toml"),
        (["keys", "create", "acme", "--scope", "bogus", "--reason", "r"], "bogus"),
        (["keys", "create", "acme", "--reason", "r"], "--source"),
        (["customers", "map", "acme", "cus_a b", "--reason", "r"], "cus_a b"),
        (["customers", "map", "acme", "acct_1", "--reason", "r"], "acct_1"),
    ],
)
def test_a_wrong_call_is_told_in_one_sentence_and_ends_with_2(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Usage and configuration are exit code 2; nothing is on stdout, no trace of Python anywhere."""
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert word in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("dsn", [None, "postgresql://nobody@127.0.0.1:1/nothing"])
def test_the_script_for_a_dba_is_whole_where_no_database_answers(
    dsn: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script alone is on stdout; why it is whole is said beside it."""
    if dsn is not None:
        monkeypatch.setenv("TRUEUP_POSTGRES_DSN", dsn)
    assert run(["migrate", "--sql"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("begin;")
    assert said.out.endswith("commit;\n")
    assert "create table ledger.event (" in said.out
    assert "empty database" in said.err
    assert run(["migrate", "--sql", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stands_at"] is None


def test_a_broker_that_does_not_answer_is_told_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Configuration or network: exit code 2, and no object of the client library on the screen."""
    monkeypatch.setenv("TRUEUP_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setattr(catalogue_topic, "REQUEST_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run(["events", "send", "-"]) == 2
    said = capsys.readouterr()
    assert "Kafka refused or does not answer" in said.err
    assert "KafkaError{" not in said.err


def test_status_without_a_street_answers_no(capsys: pytest.CaptureFixture[str]) -> None:
    """It ran, and the answer is no: exit code 1, and JSON that a script can read."""
    assert run(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == []


def test_a_broken_configuration_names_its_variable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, with the variable in it."""
    monkeypatch.setenv("TRUEUP_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("TRUEUP_PARTITIONS", "many")
    assert run(["prove"]) == 2
    assert "TRUEUP_PARTITIONS" in capsys.readouterr().err


def test_catalogue_check_names_every_fault_by_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It asks nobody: a file is right or it is not."""
    file = tmp_path / "catalogue.toml"
    file.write_text('[meter.tokens]\nunit = "token"\nstripe_event_name = "tokens"\ncolour = "red"\nroll_up = "PT7M"\n')
    assert run(["catalogue", "check", str(file), "--json"]) == 1
    assert {row["line"] for row in json.loads(capsys.readouterr().out)} == {4, 5}


def test_the_example_catalogue_is_right() -> None:
    """What the local street starts with, and what a newcomer copies."""
    example = Path(__file__).parents[3] / "deploy" / "catalogue.example.toml"
    assert run(["catalogue", "check", str(example)]) == 0


def test_migrate_prints_the_script_for_a_dba(capsys: pytest.CaptureFixture[str]) -> None:
    """One transaction, no database needed."""
    assert run(["migrate", "--sql"]) == 0
    script = capsys.readouterr().out
    assert script.startswith("begin;")
    assert "create table ledger.event" in script


def test_every_registered_verb_is_in_the_list() -> None:
    """So that a new verb can't be without help and JSON."""
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    found = {command.name for command in app.registered_commands}
    found |= {
        f"{name} {command.name}"
        for name, group in groups.items()
        if isinstance(group, typer.Typer)
        for command in group.registered_commands
    }
    assert found == set(VERBS)


def test_a_format_is_told_by_the_name_unless_said() -> None:
    """And a third one is refused."""
    assert chosen_format(None, "usage.CSV") == "csv"
    assert chosen_format(None, "stdin") == "jsonl"
    assert chosen_format("csv", "stdin") == "csv"
    with pytest.raises(UsageFault):
        chosen_format("xml", "usage.xml")


def test_the_countdown_says_how_much_is_left_or_since_when_it_is_over() -> None:
    """A deadline is read as time left, not as a date to be subtracted in one's head."""
    assert countdown(None, 0) is None
    assert countdown(90_061_000, 0) == "1 day, 1:01:01"
    assert countdown(0, 3_600_000) == "passed 1:00:00 ago"
