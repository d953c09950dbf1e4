"""One thread's way to the ledger: a connection that is opened when it is needed and thrown away when it failed."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import closing
from typing import TypeAlias, TypeVar

import psycopg

from trueup.contracts.errors import Broken, Transient
from trueup.ledger import migrate
from trueup.ledger.store import queries
from trueup.ledger.store.connection import READ_ONLY, ROOM_IDLE_SECONDS, STATEMENT_TIMEOUT_SECONDS, connect, is_retriable

T = TypeVar("T")
# The shells pass connections on without knowing the driver.
Connection: TypeAlias = psycopg.Connection

# No such table, schema, function or column, a result of another shape, an object that went while it was looked at: either this code is
# wrong, or `trueup migrate` made the views anew under it.
_OF_ANOTHER_SCHEMA = frozenset({"42P01", "3F000", "42883", "42703", "0A000", "XX000"})


class Session:
    """Runs work on a connection. Failures that may pass come out as Transient: the same work may be run again."""

    def __init__(
        self,
        dsn: str,
        application_name: str,
        *,
        index_only: bool = False,
        statement_timeout_seconds: int = STATEMENT_TIMEOUT_SECONDS,
        before_use: Callable[[psycopg.Connection], None] | None = None,
    ) -> None:
        """`before_use` looks at every new connection before any work does; what it raises, `run` raises."""
        self._dsn = dsn
        self._application_name = application_name
        self._index_only = index_only
        self._statement_timeout_seconds = statement_timeout_seconds
        self._before_use = before_use
        self._connection: psycopg.Connection | None = None
        self._schema: int | None = None

    def run(self, work: Callable[[psycopg.Connection], T]) -> T:
        """Run work; a refusal by a constraint is Broken, since only a false assumption can lead there."""
        try:
            return work(self._open())
        except psycopg.Error as error:
            if is_retriable(error):
                if error.sqlstate == READ_ONLY:
                    self.close()  # a session stays what it was when it began, whatever the server is by now
                self._drop_if_lost()
                raise Transient(f"{type(error).__name__}: {error}") from error
            self.close()
            if error.sqlstate in _OF_ANOTHER_SCHEMA:
                self._refuse_another_schema(error)
            raise Broken(f"the ledger refused: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Give the connection up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> psycopg.Connection:
        if self._connection is not None and _is_gone(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self._connected()
        return self._connection

    def _connected(self) -> psycopg.Connection:
        connection = connect(
            self._dsn,
            self._application_name,
            statement_timeout_seconds=self._statement_timeout_seconds,
            idle_in_transaction_seconds=ROOM_IDLE_SECONDS,
        )
        try:
            if self._index_only:
                # A young ledger has no statistics yet, and a planner without them reads whole tables for a handful of rows.
                connection.execute("set enable_seqscan = off")
            if self._before_use is not None:
                self._before_use(connection)
            self._schema = _schema(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_another_schema(self, error: psycopg.Error) -> None:
        """Transient when the schema is not the one that the connection began with, or not the one of this code."""
        began_with = self._schema
        try:
            with closing(connect(self._dsn, self._application_name)) as connection:
                found = _schema(connection)
                stands_at = _stands_at(connection)
        except psycopg.Error as away:
            raise Transient(f"{type(away).__name__}: {away}") from away
        if found != began_with:
            raise Transient(f"the ledger's schema was made anew meanwhile: {type(error).__name__}: {error}") from error
        if stands_at != migrate.head():
            raise Transient(f"the ledger stands at migration {stands_at}, this code at {migrate.head()}") from error

    def _drop_if_lost(self) -> None:
        """A lock that was not given in time leaves the connection as good as before; a lost line does not."""
        connection = self._connection
        if connection is not None and (connection.broken or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE):
            self.close()


def _schema(connection: psycopg.Connection) -> int | None:
    """What is another number after every migration; None without our schema."""
    row = connection.execute(queries.load("connection")["schema"]).fetchone()
    return None if row is None else row[0]


def _stands_at(connection: psycopg.Connection) -> str | None:
    """The migration that the ledger stands at; this code's where that is not for this role to read."""
    try:
        return migrate.standing_at(connection)
    except psycopg.errors.InsufficientPrivilege:
        return migrate.head()


def _is_gone(connection: psycopg.Connection) -> bool:
    """Whether the server ended a connection while nobody used it: on one at rest nothing comes but its last words, or an end.

    Found before the work begins, this costs one look and no failure. A notice costs a new connection, which is cheap.
    """
    if connection.closed:
        return True
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        return False
    looking = select.poll()
    looking.register(connection.fileno(), select.POLLIN | getattr(select, "POLLRDHUP", 0))
    return bool(looking.poll(0))
