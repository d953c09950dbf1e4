"""One emulator under a simulated clock for most tests; a fresh one for those that kill it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.system.emulator.running import HandClock, RunningEmulator, World, make_world


@pytest.fixture(scope="session")
def shared_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    """An emulator that tests share, each with its own meter and customer."""
    folder = tmp_path_factory.mktemp("emulator")
    emulator = RunningEmulator(folder / "data", HandClock(folder / "clock"))
    yield emulator
    emulator.kill()


@pytest.fixture
def emulator(shared_emulator: RunningEmulator) -> Iterator[RunningEmulator]:
    """The shared emulator, with its switches set back and its faults taken away afterwards."""
    before = shared_emulator.ask("settings")
    yield shared_emulator
    requests.delete(f"{shared_emulator.url}/_emulator/faults", timeout=30).raise_for_status()
    shared_emulator.tell("settings", before)


@pytest.fixture
def world(emulator: RunningEmulator) -> World:
    """A meter and a customer of the test's own."""
    return make_world(emulator)


@pytest.fixture
def own_emulator(tmp_path: Path) -> Iterator[RunningEmulator]:
    """An emulator that the test may kill."""
    emulator = RunningEmulator(tmp_path / "data", HandClock(tmp_path / "clock"))
    yield emulator
    emulator.kill()
