"""The simulated clock moves from due date to due date, and only when everybody is at rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from devstack.clock import Barrier, ClockFile, Restless, duration_ms
from devstack.control import ControlServer
from trueup.runtime.clock import clock_from, rfc3339
from trueup.runtime.metrics import Registry
from trueup.runtime.web import Activity, Health, RoomServer

START_MS = 1_790_812_800_000  # 2026-10-01T00:00:00Z
HOUR_MS = 3_600_000


@dataclass
class SmallRoom:
    """A room with due dates of its own, reached over HTTP like any other; it acts at each, some asking later."""

    clock: ClockFile
    due_ms: list[int] = field(default_factory=list)
    acted_at: list[int] = field(default_factory=list)
    owns: tuple[str, ...] = ()
    busy: str = ""
    slow: int = 0  # how many times it is asked before it gets to work that is due

    def activity(self) -> Activity:
        now_ms = self.clock.now_ms()
        if self.due_ms and self.due_ms[0] <= now_ms:
            if self.slow > 0:
                self.slow -= 1
                return Activity(False, len(self.acted_at), self.due_ms[0], self.owns, "at work")
            self.due_ms.pop(0)
            self.acted_at.append(now_ms)
        return Activity(not self.busy, len(self.acted_at), self.due_ms[0] if self.due_ms else None, self.owns, self.busy)


Serve = Callable[[SmallRoom], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[RoomServer] = []

    def start(room: SmallRoom) -> str:
        server = RoomServer(0, Registry(), lambda: Health(True, ""), lambda: Health(True, ""), room.activity)
        server.start()
        servers.append(server)
        return f"http://127.0.0.1:{server.port}/activity"

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def clock(tmp_path: Path) -> ClockFile:
    return ClockFile(tmp_path / "clock", START_MS)


def barrier_of(clock: ClockFile, *urls: str, owned: frozenset[str] = frozenset(), halted: list[str] | None = None) -> Barrier:
    ledger: list[int] = []
    named = {f"room-{number}": url for number, url in enumerate(urls)}
    return Barrier(clock, ledger.append, named, owned, lambda: halted or [])


def test_every_room_acts_at_its_own_date(clock: ClockFile, serve: Serve) -> None:
    """No due date is jumped over, also where a room is slow to get to it."""
    dates = [START_MS + n * HOUR_MS for n in (1, 2, 2, 5)]
    quick, slow = SmallRoom(clock, dates.copy()), SmallRoom(clock, [START_MS + 2 * HOUR_MS + 1], slow=3)
    barrier = barrier_of(clock, serve(quick), serve(slow))
    assert barrier.advance_to(START_MS + 6 * HOUR_MS) == START_MS + 6 * HOUR_MS == clock.now_ms()
    assert quick.acted_at == dates
    assert slow.acted_at == [START_MS + 2 * HOUR_MS + 1]


def test_readers_and_ledger_see_the_same_date(clock: ClockFile, serve: Serve) -> None:
    """The ledger hears it first; a reader needs no new start."""
    order: list[tuple[int, int]] = []
    reader = clock_from(clock.setting)
    barrier = Barrier(clock, lambda now: order.append((now, reader.now_ms())), {"r": serve(SmallRoom(clock))}, frozenset(), list)
    barrier.advance_to(START_MS + HOUR_MS)
    assert order == [(START_MS + HOUR_MS, START_MS)]
    assert reader.now_ms() == START_MS + HOUR_MS


def test_time_stands_still_while_somebody_is_busy(clock: ClockFile, serve: Serve) -> None:
    """And the wait ends with who was busy with what, instead of never."""
    room = SmallRoom(clock, busy="a transaction is open")
    barrier = barrier_of(clock, serve(room))
    with pytest.raises(Restless, match="a transaction is open"):
        barrier.advance_to(START_MS + HOUR_MS, patience_seconds=0.5)
    assert clock.now_ms() == START_MS
    threading.Timer(0.3, lambda: setattr(room, "busy", "")).start()
    assert barrier.advance_to(START_MS + HOUR_MS, patience_seconds=10) == START_MS + HOUR_MS


def test_what_is_due_now_must_be_done_first(clock: ClockFile, serve: Serve) -> None:
    """A room that calls itself idle beside something due has not looked yet."""

    class Asleep(SmallRoom):
        def activity(self) -> Activity:
            return Activity(True, 0, START_MS, (), "")

    with pytest.raises(Restless, match="room-0: due now"):
        barrier_of(clock, serve(Asleep(clock))).advance_to(START_MS + HOUR_MS, patience_seconds=0.5)


def test_part_that_does_not_answer_is_busy(clock: ClockFile, serve: Serve) -> None:
    """It may be starting again, with work in hand."""
    barrier = barrier_of(clock, serve(SmallRoom(clock)), "http://127.0.0.1:9/activity")
    with pytest.raises(Restless, match="room-1: does not answer"):
        barrier.advance_to(START_MS + HOUR_MS, patience_seconds=0.5)


def test_every_partition_needs_an_owner(clock: ClockFile, serve: Serve) -> None:
    """Between two owners nobody would see the records that wait."""
    owned = frozenset({"dedupe:0", "dedupe:1"})
    first, second = SmallRoom(clock, owns=("dedupe:0",)), SmallRoom(clock)
    barrier = barrier_of(clock, serve(first), serve(second), owned=owned)
    with pytest.raises(Restless, match="nobody owns dedupe:1"):
        barrier.advance_to(START_MS + HOUR_MS, patience_seconds=0.5)
    second.owns = ("dedupe:1",)
    assert barrier.advance_to(START_MS + HOUR_MS) == START_MS + HOUR_MS


def test_halted_part_ends_the_wait_with_its_reason(clock: ClockFile, serve: Serve) -> None:
    """Nobody waits minutes for a part that will not come back."""
    barrier = barrier_of(clock, serve(SmallRoom(clock)), halted=["dedupe-1: sums differ by 3"])
    with pytest.raises(Restless, match="sums differ by 3"):
        barrier.advance_to(START_MS + HOUR_MS)


def test_work_between_two_rounds_is_noticed(clock: ClockFile, serve: Serve) -> None:
    """A room that was idle twice but worked in between has handed something on that is not seen yet."""
    works = iter([0, 1, 2, 3, 3, 3, 3])

    class Restive(SmallRoom):
        def activity(self) -> Activity:
            return Activity(True, next(works), None, (), "")

    barrier_of(clock, serve(Restive(clock))).advance_to(START_MS)
    assert list(works) == [3, 3]


def test_clock_over_http(clock: ClockFile, serve: Serve) -> None:
    """The contract's door, with a guest that is asked too."""
    barrier = barrier_of(clock, serve(SmallRoom(clock)))
    control = ControlServer(0, lambda: [{"name": "kafka"}], lambda: barrier)
    control.start()
    url = f"{control.url}/clock"
    guest = SmallRoom(clock, [START_MS + 2 * HOUR_MS])
    try:
        assert requests.get(url, timeout=5).json() == {"now": rfc3339(START_MS)}
        requests.post(f"{url}/parts", json={"name": "load-generator", "url": serve(guest)}, timeout=5).raise_for_status()
        assert requests.post(url, json={"advance": "PT3H"}, timeout=30).json() == {"now": "2026-10-01T03:00:00Z"}
        assert guest.acted_at == [START_MS + 2 * HOUR_MS]
        assert [part["name"] for part in requests.get(f"{url}/parts", timeout=5).json()] == ["load-generator", "room-0"]
        requests.post(f"{url}/parts", json={"name": "load-generator", "url": None}, timeout=5).raise_for_status()
        assert requests.post(url, json={"to": "2026-10-01T06:00:00+02:00"}, timeout=30).json() == {"now": "2026-10-01T04:00:00Z"}
        for wrong in ({"to": "2026-10-01T00:00:00Z"}, {"advance": "6h"}, {}, {"to": "2026-10-02T00:00:00"}):
            assert requests.post(url, json=wrong, timeout=5).status_code == 400
        assert requests.get(f"{control.url}/status", timeout=5).json() == [{"name": "kafka"}]
    finally:
        control.stop()


def test_kept_clock_goes_on_where_it_stood(tmp_path: Path) -> None:
    """A street that is started again on kept data does not go back in time."""
    ClockFile(tmp_path / "clock", START_MS).set(START_MS + 1)
    again = ClockFile(tmp_path / "clock", START_MS)
    assert again.now_ms() == START_MS + 1
    with pytest.raises(ValueError, match="back"):
        again.set(START_MS)


@pytest.mark.parametrize(("text", "ms"), [("PT6H", 21_600_000), ("P1DT30M", 88_200_000), ("PT1S", 1_000), ("P2D", 172_800_000)])
def test_durations(text: str, ms: int) -> None:
    """ISO 8601, in days and less: months have no length."""
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "P", "PT", "6H", "P1M", "PT-1H"])
def test_strange_durations_are_refused(text: str) -> None:
    """A guess would move every date of the street."""
    with pytest.raises(ValueError, match="no duration"):
        duration_ms(text)
