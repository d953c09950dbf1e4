"""Capture under kill -9 of the client and of its backend, at chosen places and at random ones; and a writer that stands still."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from devstack.postgres import Postgres
from devstack.process import Command, spawn, wait_until
from services.stripe_sink.app.watchdog import Watchdog
from services.stripe_sink.metrics.capture import TERMINATED
from tests.makers.capture_writer import BATCHES, WIDTH, batches, story
from tests.makers.ledger_books import one, rows
from trueup.ledger.migrate import migrate
from trueup.ledger.store import barrier, queries
from trueup.ledger.store.connection import connect
from trueup.runtime.metrics import Registry

# Each place twice: the client dies there, and the server's process that works for it.
CLIENT_DEATHS = {"3": "OFFSETS_MOVED", "8": "EVENTS_COPYING", "13": "EVENTS_COPIED", "18": "BEFORE_COMMIT"}
BACKEND_DEATHS = {"4": "OFFSETS_MOVED", "9": "EVENTS_COPYING", "14": "EVENTS_COPIED", "19": "BEFORE_COMMIT"}
SEED = 20261122


@pytest.fixture(scope="module")
def hurt_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server of this module's own: a backend that is killed takes all connections of its server with it."""
    folder = tmp_path_factory.mktemp("hurt")
    server = Postgres(folder, print)
    part = server.part()
    process = spawn(part.prepare(), folder / "log", part.death_signal)
    assert wait_until(lambda: part.ready().ok, 60, 0.1)
    yield server
    process.send_signal(part.stop_signal)
    process.wait(30)


@pytest.fixture
def hurt_database(hurt_server: Postgres, request: pytest.FixtureRequest) -> str:
    """A migrated database on it."""
    name = f"hurt_{request.node.name.partition('[')[0][-40:].lower()}"
    with psycopg.connect(hurt_server.dsn(), autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    migrate(hurt_server.dsn(name))
    return name


def _writer(server: Postgres, database: str, partition: int, folder: Path, deaths: dict[str, list[str]]) -> subprocess.Popen[bytes]:
    arguments = (server.dsn(database, "trueup_writer"), str(partition), str(SEED), str(folder), json.dumps(deaths))
    return spawn(Command((sys.executable, "-m", "tests.makers.capture_writer", *arguments)), folder / f"writer-{partition}.log")


def _assert_exact(connection: psycopg.Connection, stories: list[list]) -> None:
    """The ledger equals a dict of the stories, whichever of two partitions brought a repeated event first."""
    told = [event for one_story in stories for event, _late in one_story]
    first: dict[str, tuple] = {}
    for event in (*(e for e in told if e.quantity < 1_000), *told):
        first.setdefault(event.id, (event.id, event.customer, event.quantity))
    stored = rows(connection, "select id, customer, quantity from ledger.event")
    assert Counter(stored) == Counter(first.values())
    conflicts = sum(event.quantity >= 1_000 for event in told)
    assert one(connection, "select count(*) from ledger.conflict") == (conflicts,)
    assert one(connection, "select count(*) from ledger.duplicate") == (len(told) - len(first) - conflicts,)
    decided = "sum(accepted_events + ledger_duplicate_events + conflict_events)::bigint"
    assert one(connection, f"select sum(arrived_events)::bigint, {decided} from ledger.source_batch") == (len(told), len(told))
    assert one(connection, "select sum(billable_quantity) from ledger.event") == one(connection, "select sum(quantity) from ledger.posting")
    assert one(connection, "select count(*) from ledger.batch") == (BATCHES * len(stories),)
    assert rows(connection, "select partition, next_offset from ops.source_offset where topic = 'progress' order by 1") == [
        (partition, BATCHES) for partition in range(len(stories))
    ]
    assert rows(connection, queries.load("capture")["broken_chain_links"].decode()) == []


def test_killed_at_every_place_and_at_random(hurt_server: Postgres, hurt_database: str, tmp_path: Path):
    """Two writers whose repeats cross, kill -9 at each place of the transaction and at random moments: the books stay exact."""
    deaths = [
        {number: [place, "client"] for number, place in CLIENT_DEATHS.items()},
        {number: [place, "backend"] for number, place in BACKEND_DEATHS.items()},
    ]
    writers = [_writer(hurt_server, hurt_database, partition, tmp_path, deaths[partition]) for partition in (0, 1)]
    chance = random.Random(SEED)
    random_kills = 0
    give_up_at = time.monotonic() + 200
    while any(writer.poll() != 0 for writer in writers):
        assert time.monotonic() < give_up_at
        for partition, writer in enumerate(writers):
            if writer.poll() not in (None, 0):
                assert writer.returncode == -signal.SIGKILL, (tmp_path / f"writer-{partition}.log").read_text()
                writers[partition] = _writer(hurt_server, hurt_database, partition, tmp_path, deaths[partition])
        if random_kills < 4 and not _wait_then_ended(writers[random_kills % 2], chance.uniform(0.1, 0.4)):
            writers[random_kills % 2].kill()
            writers[random_kills % 2].wait(10)
            random_kills += 1
        time.sleep(0.05)
    died = sorted(path.name for path in tmp_path.glob("died-*"))
    assert len(died) == len(CLIENT_DEATHS) + len(BACKEND_DEATHS), died
    assert random_kills > 0
    with psycopg.connect(hurt_server.dsn(hurt_database)) as connection:
        _assert_exact(connection, [story(partition, SEED) for partition in (0, 1)])


def _wait_then_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Let it work for a while; true when it ended by itself."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_writer_that_stands_still_in_mid_copy_is_ended(hurt_server: Postgres, hurt_database: str, tmp_path: Path):
    """A writer stopped inside COPY holds the barrier: the cutter waits for it and everybody waits for the cutter, until it is ended."""
    stopped = _writer(hurt_server, hurt_database, 0, tmp_path, {"5": ["EVENTS_COPYING", "stop"]})
    registry = Registry(TERMINATED)
    watchdog = Watchdog(hurt_server.dsn(hurt_database, "trueup_writer"), "test", registry, longest_seconds=2.0)
    with connect(hurt_server.dsn(hurt_database, "trueup_writer"), "looking") as looking:
        assert wait_until(lambda: (tmp_path / "died-0-5").exists() and bool(barrier.holders(looking)), 60, 0.05)
        cut = threading.Thread(target=_cut, args=(hurt_server.dsn(hurt_database, "trueup_writer"),))
        cut.start()
        assert wait_until(
            lambda: one(looking, "select count(*) from pg_locks where locktype = 'advisory' and not granted") == (1,), 30, 0.05
        )
        other = _writer(hurt_server, hurt_database, 1, tmp_path, {})
        time.sleep(1.0)
        assert cut.is_alive() and other.poll() is None
        assert one(looking, "select count(*) from ops.source_offset where partition = 1 and next_offset > 0") == (0,)
        watchdog.start()
        cut.join(30)
        assert not cut.is_alive()
        assert other.wait(60) == 0
        watchdog.stop()
        assert b"trueup_barrier_terminated_total 1.0" in registry.render()
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait(60) == 0
        _assert_exact(looking, [story(partition, SEED) for partition in (0, 1)])


def _cut(dsn: str) -> None:
    with connect(dsn, "cutter", lock_timeout_seconds=60) as connection, connection.transaction():
        barrier.exclude(connection)


def test_stories_hold_what_the_kills_are_about():
    """Repeats across partitions and conflicts are in the stories, or the test above would prove nothing."""
    stories = [story(partition, SEED) for partition in (0, 1)]
    assert all(len(list(batches(told, WIDTH))) == BATCHES for told in stories)
    ids = [{event.id for event, _ in told} for told in stories]
    assert len(ids[0] & ids[1]) > 100
    assert sum(event.quantity >= 1_000 for told in stories for event, _ in told) > 50
