"""Starts real workers of the dedupe room as processes, and hurts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from devstack.places import LOOPBACK, free_port
from devstack.process import Command, spawn, wait_until
from trueup.runtime.settings import StreetSettings

START_SECONDS = 60


class Worker:
    """One worker: its process, its pages, its log."""

    def __init__(self, name: str, settings: StreetSettings, folder: Path, batch_records: int = 500, clock: str = "system") -> None:
        """Say how it will run; `start` runs it, as often as it is called."""
        self.name = name
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.environment = {
            "TRUEUP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "TRUEUP_TOPIC_PREFIX": settings.topic_prefix,
            "TRUEUP_PARTITIONS": str(settings.partitions),
            "TRUEUP_CONFLUENT_SCHEMA_IDS": '{"7": "usage_event"}',
            "TRUEUP_ROOM": name,
            "TRUEUP_HTTP_PORT": str(self.port),
            "TRUEUP_BATCH_RECORDS": str(batch_records),
            "TRUEUP_CLOCK": clock,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, module: str = "services.dedupe", arguments: Sequence[str] = ()) -> None:
        """Starts the process; `module` may wrap the room to stop it at a point."""
        command = Command((sys.executable, "-m", module, *arguments), self.environment)
        self.process = spawn(command, self.log)

    @property
    def pid(self) -> int:
        """The process as it runs now."""
        assert self.process is not None
        return self.process.pid

    def page(self, path: str) -> dict[str, object]:
        """What a page answers; empty while nobody does."""
        try:
            answer: dict[str, object] = requests.get(f"http://{LOOPBACK}:{self.port}{path}", timeout=5).json()
        except requests.RequestException:
            return {}
        return answer

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = requests.get(f"http://{LOOPBACK}:{self.port}/metrics", timeout=5).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{")))

    def owns(self) -> list[str]:
        """The shares this worker says it has."""
        owns = self.page("/activity").get("owns", [])
        assert isinstance(owns, list)
        return owns

    def is_idle(self) -> bool:
        """What the shared clock would be told."""
        return self.page("/activity").get("idle") is True

    def wait_ready(self) -> None:
        """Until it reads."""
        assert wait_until(lambda: self.page("/readyz").get("ok") is True, START_SECONDS, 0.1), self.said()

    def wait_owning(self, count: int, seconds: float = START_SECONDS) -> None:
        """Until it has so many partitions."""
        assert wait_until(lambda: len(self.owns()) == count, seconds, 0.1), f"{self.owns()}\n{self.said()}"

    def wait_exit(self, seconds: float = START_SECONDS) -> int:
        """Its exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def wait_stopped(self) -> None:
        """Until it stands still at a stop signal."""
        assert wait_until(lambda: self.state() == "T", START_SECONDS, 0.02), self.said()

    def state(self) -> str:
        """The letter that the kernel gives the process."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def send(self, number: int) -> None:
        """Signals the process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """As a power cut of the process would."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As a supervisor would ask; its exit code."""
        self.send(signal.SIGTERM)
        return self.wait_exit()

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-6_000:] if self.log.exists() else "(no log)"


@contextmanager
def ended(*workers: Worker) -> Iterator[None]:
    """Leaves none of them behind."""
    try:
        yield
    finally:
        for worker in workers:
            if worker.process is not None:
                worker.kill()
