"""Connections to the ledger: named, with time limits, and autocommit said out loud."""

from __future__ import annotations

import psycopg

from trueup.ledger.store import queries

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 60
LOCK_TIMEOUT_SECONDS = 5
IDLE_IN_TRANSACTION_TIMEOUT_SECONDS = 60
# A room that stands still inside a transaction holds rows that the others need: they go on within 30 s, so its lease on them is shorter.
ROOM_IDLE_SECONDS = 10

# For whoever holds a connection, or must say that there is none, but speaks no SQL.
Connection = psycopg.Connection
Unreachable = psycopg.OperationalError
NotAllowed = psycopg.errors.InsufficientPrivilege

READ_ONLY = "25006"
# Serialisation failure, deadlock, lock timeout, whatever means that the server or the line went away, a server that is not the primary any
# more, and one without disk or memory: run the same work again.
RETRIABLE_STATES = frozenset(
    {
        "40001",
        "40P01",
        "55P03",
        "57014",
        "57P01",
        "57P02",
        "57P03",
        "57P05",
        "25P03",
        "25P04",
        READ_ONLY,
        "53100",
        "53200",
        "53300",
        "58030",
    }
)


def connect(
    dsn: str,
    application_name: str,
    *,
    autocommit: bool = True,
    statement_timeout_seconds: int = STATEMENT_TIMEOUT_SECONDS,
    lock_timeout_seconds: int = LOCK_TIMEOUT_SECONDS,
    idle_in_transaction_seconds: int = IDLE_IN_TRANSACTION_TIMEOUT_SECONDS,
) -> psycopg.Connection:
    """Open a connection that gives up instead of waiting for ever.

    With autocommit a transaction is what stands in `with connection.transaction()`, and nothing else.
    """
    connection = psycopg.connect(
        dsn,
        autocommit=True,
        application_name=application_name,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        # One that is being recovered takes connections and answers nothing that we ask: it counts as away.
        target_session_attrs="primary",
        keepalives=1,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=30_000,
    )
    connection.execute(
        queries.load("connection")["set_time_limits"],
        {
            "statement": f"{statement_timeout_seconds}s",
            "lock": f"{lock_timeout_seconds}s",
            "idle": f"{idle_in_transaction_seconds}s",
        },
    )
    # Said for every transaction: whoever waits for a lock must see, in the next statement, what was committed meanwhile.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.autocommit = autocommit
    return connection


def is_retriable(error: psycopg.Error) -> bool:
    """Whether the same work may be run again: nothing was wrong with it.

    A commit whose answer was lost belongs here too: the offsets refuse the second run when the first one went through.
    """
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state in RETRIABLE_STATES or state.startswith("08")
