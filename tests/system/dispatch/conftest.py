"""One emulator a module; every test has its own ledger, meters and customers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from tests.conftest import Database
from tests.makers.dispatch_world import START_MS, DispatchWorld
from tests.system.emulator.running import HandClock, RunningEmulator

_numbers = itertools.count(1)
# Five minutes past, so that nothing a test does at its beginning is due at once.
BEGINNING_MS = START_MS + 3_600_000 + 1_000
CHECKS = ["no_negative_holding", "intent_covers_postings_once", "outcome_state_machine", "nothing_past_horizon", "append_only_guards"]
VIOLATIONS = "select p.check_name, p.violations from finance.proof p where p.check_name = any(%s) and p.violations <> 0"


@pytest.fixture(scope="module")
def dispatch_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    """The emulator of these tests."""
    folder: Path = tmp_path_factory.mktemp("dispatch-emulator")
    emulator = RunningEmulator(folder / "data", HandClock(folder / "clock"))
    # Summaries show at once what was received, unless a test wants them to lag.
    emulator.tell("settings", {"aggregation_lag_maximum_seconds": 0})
    yield emulator
    emulator.kill()


@pytest.fixture
def world(database: Database, dispatch_emulator: RunningEmulator) -> Iterator[DispatchWorld]:
    """A ledger with one mapped customer and one meter, armed, at the beginning of a segment."""
    before = dispatch_emulator.ask("settings")
    with psycopg.connect(database.dsn, autocommit=True) as ledger:
        made = DispatchWorld(database, dispatch_emulator, ledger, f"w{next(_numbers)}")
        made.set_now(BEGINNING_MS)
        made.apply("tokens")
        made.map("acme")
        report = made.arm()
        assert report.armed, report
        yield made
        assert made.rows(VIOLATIONS, CHECKS) == [], "whatever a test did, the proof of dispatch holds"
    requests.delete(f"{dispatch_emulator.url}/_emulator/faults", timeout=30).raise_for_status()
    dispatch_emulator.tell("settings", before)
