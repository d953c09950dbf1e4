"""A ledger that is put back under a running sink: what only the lost one held is forgotten, and captured and recorded again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from subprocess import Popen

import psycopg

from devstack.postgres import Postgres
from devstack.process import spawn, wait_until
from tests.conftest import PARTITIONS, Database
from tests.makers.capture_batches import CATALOGUE_TOML, make_event
from tests.makers.capture_topics import Announcer, Delivery, Sink, wait_for_all_idle
from tests.makers.ledger_books import assert_books_are, one, rows
from trueup.contracts.events import UsageEvent
from trueup.ledger.migrate import migrate
from trueup.ledger.store import deployment
from trueup.ledger.store.deployment import Deployment
from trueup.runtime.kafka import SESSION_TIMEOUT_MS
from trueup.runtime.settings import StreetSettings

LATER_CATALOGUE_TOML = CATALOGUE_TOML.replace('"PT24H"', '"PT25H"')
ARM = """insert into ledger.arming (action, reason, acted_by, database_identity, lanes_compared, lanes_different, recorded_at)
values ('arm', 'test', 'test', ops.database_identity(), 0, 0, ops.now())"""


def _of(*customers: str) -> list[UsageEvent]:
    return [make_event(f"of-{customer}", customer=customer, quantity=10 + number) for number, customer in enumerate(customers)]


def _told(events: Iterable[UsageEvent]) -> list[tuple[UsageEvent, bool]]:
    return [(event, False) for event in events]


def _announce(announcer: Announcer, partition: int, events: Iterable[UsageEvent]) -> None:
    deliveries: list[Delivery] = [*_told(events)]
    announcer.announce(partition, deliveries)


def _run(server: Postgres, log: Path) -> Popen[bytes]:
    part = server.part()
    process = spawn(part.prepare(), log, part.death_signal)
    assert wait_until(lambda: part.ready().ok, 60, 0.1)
    return process


def _end(server: Postgres, process: Popen[bytes]) -> None:
    process.send_signal(server.part().stop_signal)
    process.wait(30)


def test_files_put_back_have_none_of_what_came_after_the_copy(kafka_settings: StreetSettings, tmp_path: Path) -> None:
    """Customers, and a version of the catalogue; the first usage that arrives then is of partitions that nothing was lost of."""
    data, log = tmp_path / "postgres", tmp_path / "postgres.log"
    server = Postgres(data, print)
    process = _run(server, log)
    migrate(server.dsn())
    settings = kafka_settings.model_copy(update={"postgres_dsn": server.dsn("postgres", "trueup_writer")})
    announcer = Announcer(settings)
    announcer.apply_catalogue()
    sink = Sink(settings, "stripe-sink-1", tmp_path)
    before, after, new = _of("acme"), _of("globex", "initech"), _of("hooli", "umbrella", "globex-2")
    try:
        _announce(announcer, 0, before)
        wait_for_all_idle([sink], PARTITIONS)
        _end(server, process)
        subprocess.run(("cp", "-a", str(data), str(tmp_path / "copy")), check=True)
        process = _run(server, log)
        announcer.apply_catalogue(LATER_CATALOGUE_TOML, version=2)
        _announce(announcer, 0, after)
        wait_for_all_idle([sink], PARTITIONS)
        _end(server, process)
        data.rename(tmp_path / "lost")
        subprocess.run(("cp", "-a", str(tmp_path / "copy"), str(data)), check=True)
        _announce(announcer, 1, new)
        process = _run(server, log)
        wait_for_all_idle([sink], PARTITIONS)
        with psycopg.connect(server.dsn(), autocommit=True) as looking:
            assert_books_are(looking, _told([*before, *after, *new]))
            assert rows(looking, "select version from ledger.catalogue_version order by 1") == [(1,), (2,)]
        assert sink.process.poll() is None
    finally:
        sink.stop()
        _end(server, process)


def test_tables_put_back_under_a_running_server_are_disarmed(settings: StreetSettings, database: Database, tmp_path: Path) -> None:
    """No connection ends and no server starts anew: the ledger stands behind what was captured, which is proof enough."""
    announcer = Announcer(settings)
    announcer.apply_catalogue()
    sink = Sink(settings, "stripe-sink-1", tmp_path)
    before, after = _of("acme"), _of("globex", "initech")
    try:
        _announce(announcer, 0, before)
        wait_for_all_idle([sink], PARTITIONS)
        with psycopg.connect(database.dsn, autocommit=True) as hand:
            deployment.record(hand, Deployment("acct_test", False))
            hand.execute(ARM)
            positions = rows(hand, "select next_offset, topic, partition from ops.source_offset")
            (newest,) = one(hand, "select max(batch_id) from ledger.batch")
            _announce(announcer, 0, after)
            assert wait_until(lambda: one(hand, "select count(*) from ledger.event") == (3,), 60, 0.1)
            assert one(hand, "select ops.dispatch_armed()") == (True,), "another batch is no step back"
            _put_back(hand, newest, positions)
            assert wait_until(lambda: one(hand, "select ops.dispatch_armed()") == (False,), 60, 0.1)
            assert "restored from a copy" in str(one(hand, "select reason from ledger.arming order by arming_id desc limit 1"))
            wait_for_all_idle([sink], PARTITIONS)
            assert_books_are(hand, _told([*before, *after]))
            assert one(hand, "select count(*) from ledger.arming") == (2,), "disarmed once"
    finally:
        sink.stop()


def test_tables_put_back_while_a_sink_leaves_are_disarmed_too(settings: StreetSettings, database: Database, tmp_path: Path) -> None:
    """Whoever stays begins all its partitions anew, and must not show Kafka where the older ledger stands before it has looked back."""
    announcer = Announcer(settings)
    announcer.apply_catalogue()
    stays, leaves = (Sink(settings, f"stripe-sink-{number}", tmp_path) for number in (1, 2))
    before, after = _of("acme"), _of("globex", "initech")
    try:
        wait_for_all_idle([stays, leaves], PARTITIONS)
        for partition in range(PARTITIONS):
            _announce(announcer, partition, [make_event(f"{event.id}-{partition}") for event in before])
        wait_for_all_idle([stays, leaves], PARTITIONS)
        with psycopg.connect(database.dsn, autocommit=True) as hand:
            deployment.record(hand, Deployment("acct_test", False))
            hand.execute(ARM)
            positions = rows(hand, "select next_offset, topic, partition from ops.source_offset")
            (newest,) = one(hand, "select max(batch_id) from ledger.batch")
            for partition in range(PARTITIONS):
                _announce(announcer, partition, [make_event(f"{event.id}-{partition}") for event in after])
            assert wait_until(lambda: one(hand, "select count(*) from ledger.event") == (3 * PARTITIONS,), 60, 0.1)
            stays.process.send_signal(signal.SIGSTOP)
            leaves.process.send_signal(signal.SIGSTOP)
            _put_back(hand, newest, positions)
            leaves.process.send_signal(signal.SIGKILL)
            leaves.process.send_signal(signal.SIGCONT)
            # Longer than a session: at the first word with the broker all that it held is gone.
            time.sleep(SESSION_TIMEOUT_MS / 1_000 + 1)
            stays.process.send_signal(signal.SIGCONT)
            assert wait_until(lambda: one(hand, "select ops.dispatch_armed()") == (False,), 60, 0.1)
            wait_for_all_idle([stays], PARTITIONS)
            assert one(hand, "select count(*) from ledger.event") == (3 * PARTITIONS,)
            assert one(hand, "select count(*) from ledger.arming") == (2,), "disarmed once"
    finally:
        stays.stop()
        leaves.stop()


def _put_back(hand: psycopg.Connection, newest_batch: object, positions: list[tuple[object, ...]]) -> None:
    """As it was when this batch was the newest one, in one transaction, past the triggers."""
    tables = [name for (name,) in rows(hand, "select format('ledger.%I', tablename) from pg_tables where schemaname = 'ledger'")]
    with hand.transaction():
        for table in tables:
            hand.execute(f"alter table {table} disable trigger user".encode())
        for table in ("posting", "event", "source_batch", "batch"):
            hand.execute(f"delete from ledger.{table} where batch_id > %s".encode(), [newest_batch])
        hand.execute("delete from ledger.subject s where not exists (select from ledger.event e where e.subject_id = s.subject_id)")
        with hand.cursor() as cursor:
            cursor.executemany("update ops.source_offset set next_offset = %s where topic = %s and partition = %s", positions)
        for table in tables:
            for trigger in ("refuse_row_change", "refuse_truncate"):
                hand.execute(f"alter table {table} enable always trigger {trigger}".encode())
