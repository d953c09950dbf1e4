"""The import contracts hold, and each fails when it is broken on purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.source import OURS, REPOSITORY

SABOTAGES = {
    "an arrow backwards": ("trueup/runtime/clock.py", "import services.dedupe.config", "Arrows point one way"),
    "the ledger reaching up": ("trueup/ledger/accounts.py", "import devstack.places", "Arrows point one way"),
    "a room importing a room": ("services/dedupe/config.py", "import services.reconciler.config", "Rooms do not know each other"),
    "ports knowing adapters": (
        "services/reconciler/ports.py",
        "import services.reconciler.adapters",
        "Inside a room, the core is the floor",
    ),
    "a core reading time": ("services/dedupe/core/batch.py", "import time", "Cores and contracts are pure"),
    "a core reading time through contracts": ("trueup/contracts/keys.py", "import random", "Cores and contracts are pure"),
    "a core knowing the runtime": ("services/stripe_sink/core/capture.py", "import trueup.runtime.clock", "Cores and contracts are pure"),
    "SQL in a room": ("services/dedupe/metrics.py", "import psycopg", "Only the ledger speaks SQL"),
    "Avro in the runtime": ("trueup/runtime/kafka.py", "import fastavro", "Only the codec speaks Avro"),
    "a heavy publisher": (
        "trueup/publisher/__init__.py",
        "import pydantic",
        "The publisher needs contracts and a Kafka client, nothing else",
    ),
    "a partial judge": ("devstack/stripe_emulator/books.py", "import trueup.contracts.keys", "The judge knows nothing of what it judges"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        (sys.executable, "-c", program, "--no-cache", "--config", "pyproject.toml"),
        cwd=folder,
        # The copy must be looked at, not the installed tree.
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for root in OURS:
        shutil.copytree(REPOSITORY / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold() -> None:
    """Arrows point one way; cores are pure; one room speaks SQL, one module Avro."""
    done = lint(REPOSITORY)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SABOTAGES)
def test_broken_contract_is_named(name: str, copy: Path) -> None:
    """A contract that cannot fail guards nothing."""
    path, line, contract = SABOTAGES[name]
    text = (copy / path).read_text(encoding="utf-8")
    (copy / path).write_text(f"{text}\n{line}  # sabotage\n", encoding="utf-8")
    done = lint(copy)
    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout, done.stdout


def test_a_ninth_piece_of_furniture_breaks_the_room(copy: Path) -> None:
    """Rooms may lack a piece or let one grow; a new kind of file is a decision for all rooms."""
    (copy / "services" / "dedupe" / "helpers.py").write_text('"""Nobody knows what."""\n')
    assert "Inside a room, the core is the floor BROKEN" in lint(copy).stdout
