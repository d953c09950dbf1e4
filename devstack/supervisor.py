"""Keeps the parts of a street running: starts what dies, leaves down what halted, knows why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from devstack.process import Footprint, Part, spawn, wait_until
from trueup.runtime.loop import HALTED

_TICK_SECONDS = 0.05
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_GOOD_LIFE_SECONDS = 20.0  # who lived this long starts again at once
_ASKED_EVERY_SECONDS = 0.1
_TOLD_AFTER_SECONDS = 2.0
_TOLD_AGAIN_SECONDS = 10.0  # the same thing; something new is told after the shorter time
_STOP_SECONDS = 20.0
_LOG_TAIL_BYTES = 65_536

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PartStatus:
    """A line of `trueup status`."""

    name: str
    pid: int | None
    address: str
    healthy: bool
    restarts: int
    why: str

    def as_json(self) -> dict[str, object]:
        """The object of the contract."""
        return asdict(self)


class StartFailed(RuntimeError):
    """A part did not become ready; the text holds what it last said."""


class _Kept:
    """A part and what became of it so far."""

    def __init__(self, part: Part, logs: Path, footprints: Path) -> None:
        self.part = part
        self.log = logs / f"{part.name}.log"
        self.footprint = Footprint(footprints / part.name)
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        self.halted: str | None = None
        self.restarts = 0
        self.ended = ""
        self._born = 0.0
        self._pause = _FIRST_PAUSE_SECONDS
        self._not_before = 0.0

    def start(self) -> None:
        self.process = spawn(self.part.prepare(), self.log, self.part.death_signal)
        self.footprint.write(self.process.pid)
        self._born = time.monotonic()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def look_after(self) -> None:
        """Notices an end, and starts the part again when its pause is over."""
        if not self.wanted or self.halted is not None or self.alive:
            return
        now = time.monotonic()
        if self.process is not None:
            code = self.process.returncode
            self.ended = _how_it_ended(code)
            self.process = None
            if code == HALTED and self.part.room:
                self.halted = last_message(self.log) or self.ended
                return
            if now - self._born > _GOOD_LIFE_SECONDS:
                self._pause = _FIRST_PAUSE_SECONDS
            self._not_before = now + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        if now >= self._not_before:
            self.restarts += 1
            self.start()

    def status(self) -> PartStatus:
        process = self.process
        pid = process.pid if process is not None and self.alive else None
        if self.halted is not None:
            return PartStatus(self.part.name, None, self.part.address, False, self.restarts, self.halted)
        if pid is None:
            why = f"{self.ended}; starting it again" if self.wanted else "stopped"
            return PartStatus(self.part.name, None, self.part.address, False, self.restarts, why)
        health = self.part.ready()
        return PartStatus(self.part.name, pid, self.part.address, health.ok, self.restarts, health.why)


class Supervisor:
    """Runs parts as children of this process. Its methods may be called from any thread."""

    def __init__(self, data: Path, say: Say) -> None:
        self._logs = data / "logs"
        self._footprints = data / "pids"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._say = say
        self._kept: dict[str, _Kept] = {}
        self._generations: list[tuple[str, ...]] = []
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def sweep(self) -> None:
        """Ends what an earlier supervisor on this data left running; normally its parts died with it."""
        if self._footprints.exists():
            for note in self._footprints.iterdir():
                Footprint(note).sweep()

    def start(self, parts: Iterable[Part]) -> None:
        """Starts parts and looks after them from now on; `wait_ready` waits for them. They may need those of earlier calls."""
        parts = list(parts)
        self._generations.append(tuple(part.name for part in parts))
        for part in parts:
            kept = _Kept(part, self._logs, self._footprints)
            self._say(f"{part.name}: starting")
            kept.start()
            with self._lock:
                kept.wanted = True
                self._kept[part.name] = kept
        if not self._thread.is_alive():
            self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(_TICK_SECONDS):
            with self._lock:
                for kept in self._kept.values():
                    try:
                        kept.look_after()
                    except Exception as error:  # one part that cannot be started must not end the care for the others
                        kept.ended = f"{type(error).__name__}: {error}"
                        self._say(f"{kept.part.name}: {kept.ended}")

    def wait_ready(self, names: Iterable[str], seconds: float = 120.0) -> None:
        """Waits until all of them are ready, telling on the way what each is doing; raises `StartFailed` otherwise."""
        waiting = list(names)
        began = told = time.monotonic()
        last_told = ""
        while waiting:
            statuses = [self.status_of(name) for name in waiting]
            for status in statuses:
                if status.healthy:
                    waiting.remove(status.name)
                    self._say(f"{status.name}: ready after {time.monotonic() - began:.1f} s at {status.address}")
                elif (why := self._kept[status.name].halted) is not None:
                    raise StartFailed(f"{status.name} halted: {why}")
            if not waiting:
                return
            news = "waiting for " + ", ".join(f"{status.name} ({status.why})" for status in statuses if not status.healthy)
            if time.monotonic() - told >= (_TOLD_AGAIN_SECONDS if news == last_told else _TOLD_AFTER_SECONDS):
                told, last_told = time.monotonic(), news
                self._say(news)
            if time.monotonic() - began > seconds:
                raise StartFailed("\n".join(self._last_words(name) for name in waiting))
            time.sleep(_ASKED_EVERY_SECONDS)

    def _last_words(self, name: str) -> str:
        kept = self._kept[name]
        return f"{name} is not ready: {kept.status().why}; the end of {kept.log}:\n{tail(kept.log, 2_000)}"

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Sends a signal to a part, which is started again if it dies of it. Returns the process that got it."""
        kept = self._kept[name]
        with self._lock:
            process = kept.process
            if process is None or not kept.alive:
                raise ProcessLookupError(f"{name} is not running: {kept.ended}")
            os.kill(process.pid, number)
            return process.pid

    def stop(self, name: str, seconds: float = _STOP_SECONDS) -> int | None:
        """Asks a part to end, insists after a while, and leaves it down. Returns its exit code, None if it was down."""
        kept = self._kept[name]
        with self._lock:
            kept.wanted = False
            process = kept.process
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(kept.part.stop_signal)
            process.send_signal(signal.SIGCONT)  # one that was stopped hears nothing
            if not wait_until(lambda: process.poll() is not None, seconds):
                self._say(f"{name}: did not end within {seconds:.0f} s, killed")
                process.kill()
                process.wait()
        kept.process = None
        kept.footprint.path.unlink(missing_ok=True)
        return process.returncode

    def start_again(self, name: str) -> None:
        """Starts a part that was stopped or halted."""
        kept = self._kept[name]
        with self._lock:
            kept.halted = None
            if not kept.alive:
                kept.start()
            kept.wanted = True

    def stop_all(self) -> None:
        """Stops everything: what was started by one call at once, what was started last first."""
        for names in reversed(self._generations):
            self._say(f"stopping {', '.join(names)}")
            with ThreadPoolExecutor(max_workers=max(1, len(names)), thread_name_prefix="stopping") as threads:
                list(threads.map(self.stop, [name for name in names if name in self._kept]))
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def halted(self) -> list[str]:
        """Which parts stay down, and why."""
        return [f"{kept.part.name}: {kept.halted}" for kept in list(self._kept.values()) if kept.halted is not None]

    def status_of(self, name: str) -> PartStatus:
        """How a part is, asked now."""
        return self._kept[name].status()

    def status(self) -> list[PartStatus]:
        """How all parts are, asked now."""
        return [kept.status() for kept in list(self._kept.values())]

    def log_of(self, name: str) -> Path:
        """Where a part's output goes."""
        return self._kept[name].log


def _how_it_ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def tail(log: Path, size: int = _LOG_TAIL_BYTES) -> str:
    """The end of a log."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        return file.read().decode(errors="replace")


def last_message(log: Path) -> str | None:
    """The message of the last JSON line in a room's log."""
    for line in reversed(tail(log).splitlines()):
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, Mapping) and "message" in content:
            return str(content["message"])
    return None
