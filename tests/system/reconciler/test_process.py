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

from devstack.process import wait_until
from services.reconciler.adapters.webhook_topic import WebhookTopic
from tests.makers.dispatch_world import DispatchWorld
from tests.makers.room_process import RoomProcess
from tests.system.emulator.running import API_KEY
from trueup.runtime.loop import CRASHED
from trueup.runtime.settings import StreetSettings

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


def test_a_process_whose_place_at_the_broker_was_taken_ends(world: DispatchWorld, kafka_settings: StreetSettings, tmp_path: Path) -> None:
    """The client is dead for good after that: going on, the room would say that it is ready and read no notification ever again."""
    assert world.emulator.clock is not None
    environment = {
        "TRUEUP_POSTGRES_DSN": world.database.writer_dsn,
        "TRUEUP_STRIPE_URL": world.emulator.url,
        "TRUEUP_STRIPE_API_KEY": API_KEY,
        "TRUEUP_CLOCK": f"simulated:{world.emulator.clock.path}",
    }
    room = RoomProcess("reconciler", kafka_settings, tmp_path, environment)
    room.start()
    try:
        assert wait_until(lambda: room.page("/activity")["idle"], 60), room.page("/activity")
        # As the coordinator gives the place of a member that slept to the next one of its name.
        other = WebhookTopic(kafka_settings.model_copy(update={"room": "reconciler"}))
        process = room.process
        assert process is not None

        def is_over() -> bool:
            other.read(0.1)
            return process.poll() is not None

        try:
            assert wait_until(is_over, 60), room.log.read_text()
        finally:
            other.close()
        assert process.returncode == CRASHED, room.log.read_text()
        assert "Restart" in room.log.read_text().splitlines()[-1]
    finally:
        room.stop(signal.SIGKILL)


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=10).ok
    except requests.ConnectionError:
        return False
