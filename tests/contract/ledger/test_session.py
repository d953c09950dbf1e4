"""A connection that ended while nobody used it costs no request; a ledger that stands still costs one, in time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from devstack.postgres import Postgres
from devstack.process import spawn, wait_until
from tests.conftest import Database
from trueup.contracts.errors import Broken, Transient
from trueup.ledger import migrate
from trueup.ledger.access.threads import LedgerThreads
from trueup.ledger.store import flush
from trueup.ledger.store.clock import now_ms
from trueup.ledger.store.connection import connect
from trueup.ledger.store.session import Connection, Session


def _pid(connection: Connection) -> int:
    return connection.info.backend_pid


def test_a_connection_that_was_ended_meanwhile_is_made_anew_before_the_work_begins(database: Database) -> None:
    """As after a restart of the server: the first to ask is not told that the ledger is away."""
    session = Session(database.writer_dsn, "test")
    first = session.run(_pid)
    with connect(database.dsn, "test") as owner:
        owner.execute("select pg_terminate_backend(%s)", [first])
        while owner.execute("select 1 from pg_stat_activity where pid = %s", [first]).fetchone():
            time.sleep(0.01)
    assert session.run(now_ms) > 0
    assert session.run(_pid) != first
    session.close()


def test_views_that_are_made_anew_under_a_room_stop_nothing(database: Database) -> None:
    """What a room did not find in mid-migration it finds the next time; what is never there is our own fault."""

    def ask_for_nothing_there(connection: Connection) -> None:
        connection.execute("select from derived.nothing_of_that_name")

    def ask_during_a_migration(connection: Connection) -> None:
        migrate.migrate(database.dsn)
        ask_for_nothing_there(connection)

    session = Session(database.writer_dsn, "test")
    with pytest.raises(Transient, match="made anew"):
        session.run(ask_during_a_migration)
    with pytest.raises(Broken, match="nothing_of_that_name"):
        session.run(ask_for_nothing_there)
    session.close()


def test_a_room_of_older_code_waits_at_a_newer_ledger(database: Database) -> None:
    """Until it is replaced itself: its tables may be others by now."""
    session = Session(database.writer_dsn, "test")
    session.run(now_ms)
    with connect(database.dsn, "test") as owner:
        owner.execute("update ops.alembic_version set version_num = '9999'")
    with pytest.raises(Transient, match="9999"):
        session.run(lambda connection: connection.execute("select from ledger.gone"))
    session.close()


def test_a_server_that_takes_no_writes_may_take_them_again(database: Database) -> None:
    """As for maintenance. A session keeps what was set when it began, so that it has to be another one."""
    session = Session(database.writer_dsn, "test")

    def write(connection: Connection) -> int:
        return flush.request(connection, "acme", "test")

    with connect(database.dsn, "test") as owner:
        owner.execute(f"alter database {database.name} set default_transaction_read_only = on".encode())
        with pytest.raises(Transient, match="ReadOnly"):
            session.run(write)
        owner.execute(f"alter database {database.name} reset default_transaction_read_only".encode())
    assert session.run(write) > 0
    session.close()


def test_a_server_that_is_being_recovered_counts_as_away(tmp_path: Path) -> None:
    """It takes connections and answers questions, of the day before: nothing is read from it, and nothing ends because of it."""
    server = Postgres(tmp_path, print)
    part = server.part()
    for standby in (False, True):
        if standby:
            (server.folder / "standby.signal").touch()
        process = spawn(part.prepare(), tmp_path / "log", part.death_signal)
        try:
            assert wait_until(lambda: part.ready().ok, 60, 0.1)
            session = Session(server.dsn(), "test")
            if standby:
                with pytest.raises(Transient, match="hot standby"):
                    session.run(_pid)
            else:
                assert session.run(_pid) > 0
            session.close()
        finally:
            process.send_signal(part.stop_signal)
            process.wait(30)


def test_whoever_waits_for_a_ledger_that_stands_still_is_told_so(database: Database) -> None:
    """No time-out of the server's own ends a statement of a server that does not run."""

    def sleep(connection: Connection) -> None:
        connection.execute("select pg_sleep(3)")

    async def ask() -> None:
        threads = LedgerThreads(database.writer_dsn, "test", longest_answer_seconds=0.5)
        began = time.monotonic()
        with pytest.raises(Transient, match="did not answer"):
            await threads.run(sleep)
        assert time.monotonic() - began < 3
        assert await threads.run(now_ms) > 0, "the other threads go on"
        threads.stop()

    asyncio.run(ask())
