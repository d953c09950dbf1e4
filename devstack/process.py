"""Child processes that die with their parent, and are found again by the next one if that ever fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from trueup.runtime.web import Health

# Linux sends the death signal when the *thread* that started the child ends, so one thread that lives as long
# as the process starts them all.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
_TETHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")))


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and with what environment beside our own."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the street. `prepare` runs before every start and may mend what a kill left behind."""

    name: str
    address: str
    prepare: Callable[[], Command]
    ready: Callable[[], Health]
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL  # what it gets when the supervisor is gone
    room: bool = False  # a room has /activity and may halt


def spawn(command: Command, log: Path, death_signal: int = signal.SIGKILL) -> subprocess.Popen[bytes]:
    """Starts a child with a session of its own; what it says goes to its log.

    It is configured by its command alone: what our own environment says of another street does not reach it.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRUEUP_")}

    def start() -> subprocess.Popen[bytes]:
        with open(log, "ab") as output:
            return subprocess.Popen(
                (*_TETHER, str(int(death_signal)), str(os.getpid()), *command.arguments),
                env={**inherited, **command.environment},
                cwd=command.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return _SPAWNER.submit(start).result()


def started_at(pid: int) -> str | None:
    """When the process with this id began, so that a number lent again is not taken for it; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


@dataclass(frozen=True, slots=True)
class Footprint:
    """A note on disk by which a process is found after its parent died."""

    path: Path

    def write(self, pid: int) -> None:
        """Notes a process that was just started."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(f"{pid} {started_at(pid)}\n")

    def pid(self) -> int | None:
        """The noted process, if it is still that one and alive."""
        try:
            noted, began = self.path.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(noted) if started_at(int(noted)) == began else None

    def sweep(self) -> None:
        """Ends the noted process if it is still there, and forgets it."""
        pid = self.pid()
        if pid is not None:
            signal_and_wait(pid, signal.SIGKILL, seconds=10)
        self.path.unlink(missing_ok=True)


def signal_and_wait(pid: int, number: int, seconds: float) -> bool:
    """Signals a process that need not be our child and waits for its end; false when it outlived the wait."""
    began = started_at(pid)
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return True
    return wait_until(lambda: started_at(pid) != began or began is None, seconds)


def wait_until(true: Callable[[], bool], seconds: float, pause_seconds: float = 0.02) -> bool:
    """Asks until the answer is yes; false when it never was in that time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_seconds)
    return True
