"""Two sinks at once, and one of them killed or frozen at the worst places: each unit is in Stripe once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.stripe_sink.app.dispatch import DispatchLimits
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld, wait_for, wait_idle
from tests.system.dispatch.test_horizon import make_unknown

StartSink = Callable[..., subprocess.Popen[bytes]]
WELL_BELOW_SECONDS = 25.0
CUSTOMERS = ("acme", "beta", "ceta", "delta", "epsilon")


@pytest.fixture
def start_sink(world: DispatchWorld, tmp_path: Path) -> Iterator[StartSink]:
    """Starts a sink that meets a signal at a place: `start_sink("sink-1", "SIGKILL:before_call")`."""
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str, place: str, *limits: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.makers.dispatch_process", world.database.writer_dsn, world.emulator.url, name, place]
        with open(tmp_path / f"{name}.log", "ab") as output:
            running.append(subprocess.Popen([*command, str(tmp_path / f"{name}.met"), *limits], stderr=output))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def use_everywhere(world: DispatchWorld) -> int:
    """Usage of every customer in one segment; gives its sum."""
    for number, customer in enumerate(CUSTOMERS):
        world.map(customer)
        world.use(customer, "tokens", 10**number)
    world.pass_segment()
    return sum(10**number for number in range(len(CUSTOMERS)))


def stripe_holds(world: DispatchWorld) -> list[tuple[int, str]]:
    """Events and value of each customer, by Stripe's own books."""
    return [world.books(customer, "tokens") for customer in CUSTOMERS]


EXACT = [(1, str(10**number)) for number in range(len(CUSTOMERS))]
UNANSWERED = """select count(*) from ledger.attempt a where not exists (select from ledger.outcome o where o.attempt_id = a.attempt_id)"""


def test_two_sinks_share_the_lanes_and_count_once(world: DispatchWorld) -> None:
    """Both cut, both send; a lane is one's at a time."""
    expected = 0
    with world.dispatching() as first, world.dispatching() as second:
        for _ in range(5):
            expected += use_everywhere(world)
            wait_idle(first, second)
    assert stripe_holds(world) == [(5, str(5 * 10**number)) for number in range(len(CUSTOMERS))]
    assert world.account("acknowledged") == expected
    holders = world.rows("select distinct split_part(holder, '/', 3) from ledger.attempt")
    assert len(holders) > 1


@pytest.mark.parametrize("place", ["before_call", "after_call"])
def test_sink_killed_around_a_call_loses_and_doubles_nothing(world: DispatchWorld, start_sink: StartSink, place: str) -> None:
    """Before the call nothing arrived, after it all did; the ledger cannot tell, and asks Stripe again under the same identifier."""
    expected = use_everywhere(world)
    killed = start_sink("sink-1", f"SIGKILL:{place}")
    assert killed.wait(30) == -signal.SIGKILL
    assert world.rows(UNANSWERED) != [(0,)], "an intent was in flight"
    assert world.account("in_flight") == expected
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert stripe_holds(world) == EXACT
    assert (world.account("in_flight"), world.account("acknowledged")) == (0, expected)


@pytest.mark.parametrize("place", ["before_call", "after_call"])
def test_sink_frozen_past_its_lease_changes_nothing_when_it_wakes(world: DispatchWorld, start_sink: StartSink, place: str) -> None:
    """The other sink takes the lanes over; the zombie's own answers come under an old epoch and are evidence only."""
    expected = use_everywhere(world)
    frozen = start_sink("sink-1", f"SIGSTOP:{place}")
    wait_for(lambda: world.rows(UNANSWERED) != [(0,)] and is_stopped(frozen.pid))
    with world.dispatching() as other:
        wait_idle(other, seconds=30)
        assert stripe_holds(world) == EXACT
        books, balances = world.rows("select count(*) from ledger.posting"), world.account("acknowledged")
        assert balances == expected
        os.kill(frozen.pid, signal.SIGCONT)
        wait_for(lambda: world.rows("select count(*) > 0 from ledger.outcome where not posted") == [(True,)])
        wait_idle(other)
    assert stripe_holds(world) == EXACT
    assert world.rows("select count(*) from ledger.posting") == books
    assert world.account("acknowledged") == expected
    assert world.rows("select count(*) from ledger.outcome where final and not posted") == [(0,)]
    frozen.terminate()
    assert frozen.wait(30) == 0


LEASES = "select max(leased_until - clock_timestamp()) between interval '0 s' and %s * interval '1 s' from ops.lane_state"


def test_sink_as_delivered_frozen_in_a_call_keeps_its_lanes_below_30_seconds(world: DispatchWorld, start_sink: StartSink) -> None:
    """The promise is that others go on within 30 s: what a lease leaves of them is for the others to look, and to call."""
    expected = use_everywhere(world)
    frozen = start_sink("sink-1", "SIGSTOP:before_call", "as_delivered")
    wait_for(lambda: world.rows(UNANSWERED) != [(0,)] and is_stopped(frozen.pid))
    assert world.rows(LEASES, WELL_BELOW_SECONDS) == [(True,)]
    with world.dispatching(limits=DispatchLimits()) as other:
        wait_idle(other, seconds=90)
        assert stripe_holds(world) == EXACT
        assert world.account("acknowledged") == expected
        os.kill(frozen.pid, signal.SIGCONT)
        wait_for(lambda: world.rows("select count(*) > 0 from ledger.outcome where not posted") == [(True,)])
        wait_idle(other)
    assert stripe_holds(world) == EXACT
    frozen.terminate()
    assert frozen.wait(30) == 0


def test_sink_as_delivered_frozen_in_a_reading_keeps_its_lane_below_30_seconds(world: DispatchWorld, start_sink: StartSink) -> None:
    """A lane whose hour is read stands still; when the reader does, another one reads, and settles."""
    make_unknown(world, "drop_after")
    world.advance(20 * HOUR_MS)
    frozen = start_sink("sink-1", "SIGSTOP:before_reading", "as_delivered")
    wait_for(lambda: is_stopped(frozen.pid))
    assert world.rows(LEASES, WELL_BELOW_SECONDS) == [(True,)]
    with world.dispatching(limits=DispatchLimits()) as other:
        wait_idle(other, seconds=90)
        assert world.rows("select quantity from ops.settle_read") == [(5,)]
        os.kill(frozen.pid, signal.SIGCONT)
        world.advance(15 * MINUTE_MS)
        wait_idle(other, seconds=90)
    assert world.rows("select quantity_landed, quantity_remainder from ledger.settlement") == [(5, 0)]
    frozen.terminate()
    assert frozen.wait(30) == 0


def is_stopped(pid: int) -> bool:
    """Whether the process stands still by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")
