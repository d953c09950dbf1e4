"""The street's simulated clock: one date for all, and a barrier that moves it only when everybody has nothing left to do.

What differs from production under this clock is listed in docs/simulated-clock.md.
"""

from __future__ import annotations

import mmap
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests

from trueup.runtime.clock import CLOCK_FILE_BYTES, SimulatedClock

_QUIET_ROUNDS = 2
_ROUND_PAUSE_SECONDS = 0.01
_LONGEST_ROUND_PAUSE_SECONDS = 0.25
_ANSWER_SECONDS = 10.0
CLOCK_FILE = "clock"  # in a street's data folder, where the clock is simulated
DEFAULT_PATIENCE_SECONDS = 180.0
# A street that is at work for ever is none that comes to rest: calls that Stripe goes on refusing are tried again and again.
LONGEST_REST_SECONDS = 900.0
_DURATION = re.compile(r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?")


def duration_ms(text: str) -> int:
    """Milliseconds of an ISO 8601 duration in days, hours, minutes and seconds."""
    found = _DURATION.fullmatch(text)
    parts = {name: int(value) for name, value in found.groupdict().items() if value} if found else {}
    if not parts:
        raise ValueError(f"{text!r} is no duration such as PT6H or P1DT30M")
    return timedelta(**parts) // timedelta(milliseconds=1)


class ClockFile:
    """The eight bytes that every process of the street reads its date from."""

    def __init__(self, path: Path, start_ms: int) -> None:
        if not path.exists():
            path.write_bytes(start_ms.to_bytes(CLOCK_FILE_BYTES, "little", signed=True))
        self.path = path
        self._reader = SimulatedClock(path)
        with open(path, "r+b") as file:
            self._value = memoryview(mmap.mmap(file.fileno(), CLOCK_FILE_BYTES)).cast("q")

    @property
    def setting(self) -> str:
        """What `TRUEUP_CLOCK` says."""
        return f"simulated:{self.path}"

    def now_ms(self) -> int:
        """The date."""
        return self._reader.now_ms()

    def set(self, now_ms: int) -> None:
        """Moves the date. One 8-byte store: no reader sees half of it."""
        if now_ms < self.now_ms():
            raise ValueError("a clock does not go back")
        self._value[0] = now_ms


@dataclass(frozen=True, slots=True)
class Seen:
    """What one part answered in one round; a part that does not answer is busy."""

    name: str
    idle: bool
    work: int
    next_due_ms: int | None
    owns: frozenset[str]
    why: str


class Restless(RuntimeError):
    """The street did not come to rest; the text says who was busy with what."""


class Barrier:
    """Moves the date from one due date to the next, each time waiting until the whole street is at rest."""

    def __init__(
        self,
        clock: ClockFile,
        set_ledger: Callable[[int], None],
        urls: Mapping[str, str],
        owned: frozenset[str],
        halted: Callable[[], list[str]],
    ) -> None:
        self._clock = clock
        self._set_ledger = set_ledger
        self._urls = urls
        self._owned = owned
        self._halted = halted
        self._guests: dict[str, str] = {}
        self._moving = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="barrier")
        self._sessions: dict[str, requests.Session] = {}
        self.steps = 0

    def now_ms(self) -> int:
        """The date."""
        return self._clock.now_ms()

    def invite(self, name: str, url: str | None) -> None:
        """Lets a program that is no part of the street, such as the load generator, be asked too; without url no longer."""
        if url is None:
            self._guests.pop(name, None)
        else:
            self._guests[name] = url

    def advance_to(self, target_ms: int, patience_seconds: float = DEFAULT_PATIENCE_SECONDS) -> int:
        """Goes to this date through every due date on the way; returns when the street is at rest there."""
        with self._moving:
            while True:
                due_ms = self._rest(patience_seconds)
                now_ms = self._clock.now_ms()
                if now_ms >= target_ms:
                    return now_ms
                self._step(target_ms if due_ms is None else min(due_ms, target_ms))

    def _step(self, now_ms: int) -> None:
        # The ledger first: a room that already sees the new date must not be told the old one by SQL.
        self._set_ledger(now_ms)
        self._clock.set(now_ms)
        self.steps += 1

    def _rest(self, patience_seconds: float) -> int | None:
        """Waits until two rounds of asking in a row found everybody idle and nobody at work in between; gives the next due date."""
        quiet, before, pause = 0, None, _ROUND_PAUSE_SECONDS
        patience_ends = time.monotonic() + patience_seconds
        gives_up_at = time.monotonic() + max(patience_seconds, LONGEST_REST_SECONDS)
        while True:
            halted = self._halted()
            if halted:
                raise Restless(f"a part is down until a person has looked: {'; '.join(halted)}")
            seen = self._ask_all()
            works = tuple((one.name, one.work) for one in seen)
            if works != before:
                patience_ends = time.monotonic() + patience_seconds  # something happens: that is worth waiting for
            busy = self._busy(seen)
            quiet = quiet + 1 if not busy and works == before else int(not busy)
            if quiet >= _QUIET_ROUNDS:
                return min((one.next_due_ms for one in seen if one.next_due_ms is not None), default=None)
            if time.monotonic() > patience_ends:
                raise Restless(f"nothing happened for {patience_seconds:.0f} s and this stays open: {'; '.join(busy)}")
            if time.monotonic() > gives_up_at:
                raise Restless(f"after {LONGEST_REST_SECONDS:.0f} s on one date the street is still at work: {'; '.join(busy)}")
            if before is not None and busy:
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_ROUND_PAUSE_SECONDS)
            before = works

    def _busy(self, seen: tuple[Seen, ...]) -> list[str]:
        now_ms = self._clock.now_ms()
        busy = [f"{one.name}: {one.why}" for one in seen if not one.idle]
        busy += [f"{one.name}: due now" for one in seen if one.idle and one.next_due_ms is not None and one.next_due_ms <= now_ms]
        unowned = self._owned.difference(*(one.owns for one in seen))
        if unowned:
            busy.append(f"nobody owns {', '.join(sorted(unowned))}")
        return busy

    def last_round(self) -> tuple[Seen, ...]:
        """Asks everybody once, for whoever wants to know what the street waits for."""
        return self._ask_all()

    def _ask_all(self) -> tuple[Seen, ...]:
        urls = {**self._urls, **self._guests}
        return tuple(self._pool.map(lambda item: self._ask(*item), sorted(urls.items())))

    def _ask(self, name: str, url: str) -> Seen:
        session = self._sessions.setdefault(name, requests.Session())
        try:
            answer = session.get(url, timeout=_ANSWER_SECONDS)
            content: dict[str, Any] = answer.json()
            if answer.status_code != 200:
                return Seen(name, False, -1, None, frozenset(), str(content.get("why", answer.status_code)))
            return Seen(name, content["idle"], content["work"], content["next_due_ms"], frozenset(content["owns"]), content["why"])
        except (requests.RequestException, ValueError, KeyError) as error:
            return Seen(name, False, -1, None, frozenset(), f"does not answer ({type(error).__name__})")
