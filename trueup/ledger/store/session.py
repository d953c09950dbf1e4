"""One thread's way to the ledger: a connection that is opened when it is needed and thrown away when it failed."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import psycopg

from trueup.contracts.errors import Broken, Transient
from trueup.ledger.store.connection import ROOM_IDLE_SECONDS, STATEMENT_TIMEOUT_SECONDS, connect, is_retriable

T = TypeVar("T")
# The shells pass connections on without knowing the driver.
Connection: TypeAlias = psycopg.Connection


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

    def run(self, work: Callable[[psycopg.Connection], T]) -> T:
        """Run work; a refusal by a constraint is Broken, since only a false assumption can lead there."""
        try:
            return work(self._open())
        except psycopg.Error as error:
            if is_retriable(error):
                self._drop_if_lost()
                raise Transient(f"{type(error).__name__}: {error}") from error
            self.close()
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
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop_if_lost(self) -> None:
        """A lock that was not given in time leaves the connection as good as before; a lost line does not."""
        connection = self._connection
        if connection is not None and (connection.broken or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE):
            self.close()


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
