"""The room as its own process: probes, metrics, and an orderly end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

from tests.makers.dispatch_world import DispatchWorld
from tests.system.emulator.running import API_KEY

NAMES = (
    "reconciliation_difference_units",
    "reconciliation_last_success_timestamp_seconds",
    "proof_violations",
    "proof_pending",
    "proof_evaluations_total",
    "review_open",
    "at_risk_minor_units",
    "clock_skew_seconds",
    "build_info",
)


def test_the_process(world: DispatchWorld, tmp_path: Path) -> None:
    assert world.emulator.clock is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "TRUEUP_ROOM": "reconciler",
        "TRUEUP_POSTGRES_DSN": world.database.writer_dsn,
        "TRUEUP_STRIPE_URL": world.emulator.url,
        "TRUEUP_STRIPE_API_KEY": API_KEY,
        "TRUEUP_CLOCK": f"simulated:{world.emulator.clock.path}",
        "TRUEUP_HTTP_PORT": str(port),
    }
    log = tmp_path / "reconciler.log"
    with log.open("wb") as lines:
        process = subprocess.Popen([sys.executable, "-m", "services.reconciler"], env=environment, stderr=lines)
    try:
        give_up = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{port}/readyz"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.1)
        assert requests.get(f"http://127.0.0.1:{port}/livez", timeout=10).ok
        activity = requests.get(f"http://127.0.0.1:{port}/activity", timeout=10).json()
        assert (activity["idle"], activity["owns"]) == (True, [])
        shown = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        assert [name for name in NAMES if f"trueup_{name.removesuffix('_total')}" not in shown] == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=10).ok
    except requests.ConnectionError:
        return False
