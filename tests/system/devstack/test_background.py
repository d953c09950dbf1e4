"""The street that `trueup up` leaves running: asked for twice it is one; killed, it leaves nothing and starts again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from devstack import background
from devstack.process import Footprint, started_at, wait_until
from devstack.rooms import ALL_PARTS

KEYS = (
    *("ingest_url", "ingest_api_key", "webhooks_url", "usage_url", "stripe_url", "stripe_api_key", "stripe_webhook_secret"),
    *("kafka_bootstrap", "postgres_dsn", "finance_dsn", "usage_api_key", "staff_token", "metrics", "clock_url", "data_dir"),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TRUEUP_DATA_DIR", str(tmp_path / "state"))
    yield tmp_path
    background.down(print)


@pytest.mark.timeout(600)
def test_street_is_one_and_survives_its_own_end(folder: Path) -> None:
    """Up, up again, kill -9 of the supervisor, up on the kept data, down."""
    kept = folder / "kept"
    said = background.up(clock="simulated", keep=kept, partitions=4, say=print)
    assert tuple(said) == KEYS
    rows = background.status()
    assert {row["name"]: row["healthy"] for row in rows} == dict.fromkeys(ALL_PARTS, True), [row["why"] for row in rows]
    assert all(requests.get(url, timeout=10).ok for url in said["metrics"].values())
    with psycopg.connect(said["finance_dsn"]) as connection:
        connection.execute("select * from finance.proof limit 0")
    began = requests.get(said["clock_url"], timeout=10).json()["now"]
    requests.post(said["clock_url"], json={"advance": "PT1H"}, timeout=120).raise_for_status()

    supervisor = background.supervisor_pid()
    assert background.up(clock="simulated", say=print) == said
    assert background.supervisor_pid() == supervisor is not None
    with pytest.raises(background.StreetError, match="--clock simulated"):
        background.up(clock="system", say=print)

    pids = [int(row["pid"]) for row in background.status()]
    os.kill(supervisor, signal.SIGKILL)
    assert wait_until(lambda: not any(started_at(pid) for pid in pids), 20)
    assert background.status() == []

    again = background.up(clock="simulated", keep=kept, partitions=4, say=print)
    assert (again["kafka_bootstrap"], again["postgres_dsn"]) == (said["kafka_bootstrap"], said["postgres_dsn"])
    assert requests.get(again["clock_url"], timeout=10).json()["now"] > began
    assert background.down(print) and not background.down(print)
    assert not background.state_file().exists()


def test_a_street_that_is_being_cleared_away_is_no_street(folder: Path) -> None:
    """Killed, its process is there for a moment longer and answers nobody."""
    del folder
    background.street_folder().mkdir(parents=True)
    background.state_file().write_text(json.dumps({"status_url": "http://127.0.0.1:9/status"}))
    with subprocess.Popen(["sleep", "0.5"]) as supervisor:
        Footprint(background.street_folder() / "supervisor.pid").write(supervisor.pid)
        assert background.supervisor_pid() == supervisor.pid
        waiter = threading.Thread(target=supervisor.wait)
        waiter.start()
        assert background.status() == []
        waiter.join()


def test_start_that_fails_says_why(folder: Path) -> None:
    """And leaves nothing behind that the next start would take for a street."""
    (folder / "catalogue.toml").write_text("[meter.x]\nunit = 'y'\nbiling_window = 'PT1H'\n")
    said: list[str] = []
    with pytest.raises(background.StreetError):
        background.up(catalogue=folder / "catalogue.toml", say=said.append)
    assert any("biling_window" in line for line in said), said
    assert background.supervisor_pid() is None
    assert not background.state_file().exists()
    notes = json.dumps([path.name for path in (background.street_folder() / "data" / "pids").iterdir()])
    assert notes == "[]"


@pytest.mark.parametrize(("kept_with", "asked"), [("simulated", "system"), ("system", "simulated")])
def test_kept_data_are_not_taken_up_with_another_clock(folder: Path, kept_with: str, asked: str) -> None:
    """Refused before any part starts: on another date Stripe would close months before a room says no."""
    kept = folder / "kept"
    (kept / "kafka").mkdir(parents=True)
    if kept_with == "simulated":
        (kept / "clock").touch()
    with pytest.raises(background.StreetError, match=f"--clock {kept_with}"):
        background.up(clock=asked, keep=kept, say=print)
    assert background.status() == []
