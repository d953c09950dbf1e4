"""A room with doors as a process of its own, and what opens them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from devstack.places import LOOPBACK, free_port
from devstack.process import Command, spawn, wait_until
from trueup.ledger.store import api_keys
from trueup.ledger.store.connection import connect
from trueup.runtime.settings import StreetSettings

START_SECONDS = 60


class RoomProcess:
    """One room: its process, its probes, its log."""

    def __init__(self, room: str, settings: StreetSettings, folder: Path, environment: Mapping[str, str]) -> None:
        self.log = folder / f"{room}.log"
        self.probes = free_port()
        self._module = f"services.{room.replace('-', '_')}"
        self.environment = {
            "TRUEUP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "TRUEUP_TOPIC_PREFIX": settings.topic_prefix,
            "TRUEUP_PARTITIONS": str(settings.partitions),
            "TRUEUP_ROOM": room,
            "TRUEUP_HTTP_PORT": str(self.probes),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process = spawn(Command((sys.executable, "-m", self._module), self.environment), self.log)
        ended = self.process.poll
        assert wait_until(lambda: ended() is not None or self.is_ready(), START_SECONDS, 0.05), self.log.read_text()
        assert ended() is None, self.log.read_text()

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            return requests.get(f"http://{LOOPBACK}:{self.probes}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def page(self, path: str) -> dict[str, Any]:
        """What a probe answers."""
        content: dict[str, Any] = requests.get(f"http://{LOOPBACK}:{self.probes}{path}", timeout=5).json()
        return content

    def metric(self, sample: str) -> float:
        """A sample's value, written as Prometheus reads it."""
        text = requests.get(f"http://{LOOPBACK}:{self.probes}/metrics", timeout=5).text
        return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"trueup_{sample} ")), 0.0)

    def memory(self) -> int:
        """Resident bytes of the process."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith("VmRSS"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and give the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.process.wait(30)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it and stop it again; its end must be a clean one."""
        self.start()
        try:
            yield
        finally:
            code = self.stop()
        assert code == 0, self.log.read_text()


def make_key(dsn: str, holder: str = "inference team", scopes: Sequence[str] = api_keys.SCOPES, sources: Sequence[str] = ("*",)) -> str:
    """A key for the doors."""
    with connect(dsn, "test") as connection:
        return api_keys.create(connection, holder, scopes=scopes, sources=sources, reason="test", created_by="test")


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"Authorization": f"Bearer {key}"}
