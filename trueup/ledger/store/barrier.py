"""The barrier: everybody who posts holds it shared, the cutter alone, and nobody longer than ten seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg

from trueup.contracts.errors import Broken
from trueup.ledger.store import queries

BARRIER = 7_305_101
LONGEST_HOLD_SECONDS = 10.0


def share(connection: psycopg.Connection) -> None:
    """First statement of every transaction that posts; its batch number is drawn after it."""
    connection.execute(queries.load("barrier")["share"], {"key": BARRIER})


def exclude(connection: psycopg.Connection) -> None:
    """The cutter's: in a statement of its own, in READ COMMITTED, with a lock_timeout."""
    connection.execute(queries.load("barrier")["exclude"], {"key": BARRIER})


def next_batch(connection: psycopg.Connection) -> int:
    """Draw a batch number; only for who holds the barrier in this transaction."""
    row = connection.execute(queries.load("barrier")["next_batch"]).fetchone()
    if row is None:
        raise Broken("the batch sequence gave no number")
    return int(row[0])


@dataclass(frozen=True, slots=True)
class Holder:
    """One transaction that holds the barrier. The virtual transaction tells it from the next one of the same backend."""

    pid: int
    transaction: str


@dataclass(slots=True)
class Watch:
    """Remembers since when each transaction was seen holding the barrier; by a monotonic clock that is handed in."""

    longest_seconds: float = LONGEST_HOLD_SECONDS
    _first_seen: dict[Holder, float] = field(default_factory=dict)

    def overdue(self, holders: list[Holder], now_seconds: float) -> list[Holder]:
        """Who has held it too long, given who holds it now."""
        self._first_seen = {holder: self._first_seen.get(holder, now_seconds) for holder in holders}
        return [holder for holder, since in self._first_seen.items() if now_seconds - since > self.longest_seconds]


def holders(connection: psycopg.Connection) -> list[Holder]:
    """Who holds the barrier now."""
    rows = connection.execute(queries.load("barrier")["holders"], {"key": BARRIER}).fetchall()
    return [Holder(pid=row[0], transaction=row[1]) for row in rows]


def terminate(connection: psycopg.Connection, holder: Holder) -> bool:
    """End a holder's connection, if it is still in the same transaction; the server rolls it back."""
    row = connection.execute(queries.load("barrier")["terminate"], {"pid": holder.pid, "transaction": holder.transaction}).fetchone()
    return row is not None and bool(row[0])
