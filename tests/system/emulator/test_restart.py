"""Killed and started again, it knows what it answered, and nothing that it did not."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import stripe

from tests.system.emulator.running import HOUR, RunningEmulator, make_world
from tests.system.emulator.test_shapes import subscribe


def test_everything_survives_a_kill(own_emulator: RunningEmulator) -> None:
    """Objects, books, identifiers, saved answers, faults left, switches and aggregation lag."""
    world = make_world(own_emulator)
    made = subscribe(world)
    world.switch(aggregation_lag_minimum_seconds=600, aggregation_lag_maximum_seconds=7200)
    world.trouble("reject")
    world.report("1000", identifier="rejected")
    for number in range(20):
        world.report(f"{number}.5", identifier=f"id-{number}", key=f"key-{number}", timestamp=world.clock.now - number * HOUR)
    world.trouble("500_after", 3)
    with pytest.raises(stripe.APIError):
        world.report("7", identifier="lost", key="lost")
    world.clock.advance(3000)
    end = world.clock.now // HOUR * HOUR + HOUR

    def seen() -> object:
        client = own_emulator.client().v1
        rows = client.billing.meters.event_summaries.list(
            world.meter,
            {"customer": world.customer, "start_time": end - 40 * HOUR, "end_time": end, "value_grouping_window": "hour", "limit": 100},
        )
        subscription = client.subscriptions.retrieve(made["subscription"]["id"])
        return [own_emulator.ask(door) for door in ("books", "faults", "settings")], str(rows), str(subscription)

    before = seen()
    assert world.page()["events"] == 21
    own_emulator.restart()
    assert seen() == before
    assert world.report("0.5", identifier="id-0", key="key-0", timestamp=world.clock.now - 3000).last_response.headers[
        "idempotent-replayed"
    ]
    for identifier in ("id-3", "rejected", "lost"):
        with pytest.raises(stripe.InvalidRequestError, match="already exists"):
            world.report("3", identifier=identifier)
    with pytest.raises(stripe.APIError):
        world.report("8", identifier="next", key="next")
    assert [fault["count"] for fault in own_emulator.ask("faults")["faults"]] == [1]
    assert world.page()["events"] == 22


def test_a_kill_under_load_keeps_what_was_answered(own_emulator: RunningEmulator) -> None:
    """Every answered event is in the books afterwards; sent again, each ends up counted exactly once."""
    world = make_world(own_emulator)
    answered: list[str] = []
    sent: list[str] = []

    def send(worker: int) -> None:
        client = own_emulator.client().v1.billing.meter_events
        for number in range(10_000):
            identifier = f"{worker}-{number}"
            sent.append(identifier)
            try:
                client.create(world.form("1", identifier=identifier))
            except stripe.APIConnectionError:
                return
            answered.append(identifier)

    world.switch(concurrent_answer="off", rate_limit_per_second=None)
    workers = [threading.Thread(target=send, args=(worker,)) for worker in range(4)]
    for thread in workers:
        thread.start()
    while len(answered) < 200:
        assert any(thread.is_alive() for thread in workers)
    own_emulator.kill()
    for thread in workers:
        thread.join()
    own_emulator.start()
    counted = world.page()["events"]
    assert len(answered) <= counted <= len(sent)
    duplicates = 0
    for identifier in sent:
        try:
            world.report("1", identifier=identifier)
        except stripe.InvalidRequestError:
            duplicates += 1
    assert duplicates == counted
    assert world.page()["value"] == str(len(sent))


def test_a_torn_last_line_is_cut_off(own_emulator: RunningEmulator) -> None:
    """What was not written whole was never answered: it is gone, and the journal goes on behind the last whole line."""
    world = make_world(own_emulator)
    world.report("5")
    own_emulator.kill()
    journal = own_emulator.folder / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:40])
    own_emulator.start()
    assert world.page()["value"] == "5"
    world.report("6")
    own_emulator.restart()
    assert world.page()["value"] == "11"
    assert journal.read_bytes().startswith(whole)


def start_by_hand(emulator: RunningEmulator, folder: Path) -> subprocess.CompletedProcess[str]:
    """Start another process, on another port, that is expected to end."""
    command = [sys.executable, "-m", "devstack.stripe_emulator", "--port", "0", "--clock", "system", "--data-dir", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_damaged_journal_is_not_trusted(own_emulator: RunningEmulator, tmp_path: Path) -> None:
    """A bad line with more behind it means lost books: it does not start."""
    make_world(own_emulator)
    lines = (own_emulator.folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "journal.jsonl").write_bytes(b"".join([lines[0][:20] + b"\n", *lines[1:]]))
    ended = start_by_hand(own_emulator, damaged)
    assert ended.returncode != 0
    assert "is damaged at byte 0" in ended.stderr


def test_one_folder_one_process(own_emulator: RunningEmulator) -> None:
    """A second process would know half of the truth."""
    assert start_by_hand(own_emulator, own_emulator.folder).returncode != 0


def test_the_journal_holds_one_line_for_each_change(own_emulator: RunningEmulator) -> None:
    """An event and its saved answer stand in one line, so that a kill can't part them; reading leaves no line."""
    world = make_world(own_emulator)
    journal = own_emulator.folder / "journal.jsonl"
    before = len(journal.read_bytes().splitlines())
    world.report("5", key="k")
    world.report("5", key="k")
    world.summaries(0, 60)
    (line,) = journal.read_bytes().splitlines()[before:]
    assert [record["record"] for record in json.loads(line)] == ["meter_event", "saved_answer"]


def test_the_system_clock_lags_by_seconds(tmp_path: Path) -> None:
    """Under the machine's clock usage is aggregated within two seconds, and dates are the machine's."""
    emulator = RunningEmulator(tmp_path / "data", None)
    try:
        assert emulator.ask("settings")["aggregation_lag_maximum_seconds"] == 2.0
        customer = emulator.client().v1.customers.create({})
        assert abs(customer.created - (tmp_path / "data").stat().st_mtime) < 60
    finally:
        emulator.kill()
