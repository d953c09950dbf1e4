"""The ledger's own clock: what `ops.now()` says, and how a street with a simulated clock sets it."""

from __future__ import annotations

import psycopg

from trueup.contracts.errors import Broken
from trueup.ledger.store import queries


def now_ms(connection: psycopg.Connection) -> int:
    """The date all SQL goes by."""
    row = connection.execute(queries.load("clock")["now_ms"]).fetchone()
    if row is None:
        raise Broken("the ledger's clock gave no answer")
    return int(row[0])


def set_simulated_now(connection: psycopg.Connection, now_ms: int) -> None:
    """Set the date of a street with a simulated clock; needs the owner, since the writer may not bend time."""
    with connection.transaction():
        connection.execute(queries.load("clock")["set_simulated_now"], {"now_ms": now_ms})
