"""The life of one event: its steps in the ledger, and what became of each of its deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from trueup.contracts import keys
from trueup.ledger.store import queries


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to an event."""

    step: str
    at: datetime | None
    detail: str


class Fate(StrEnum):
    """What became of one delivery."""

    CAPTURED = "captured"  # it is the one that counts
    CAPTURED_LATE = "captured_late"  # it is the one that counts, and came after its billing window
    DROPPED = "dropped"  # the dedupe room remembered it: in its batch's counts and id sum
    DUPLICATE = "duplicate"  # the ledger knew it
    CONFLICT = "conflict"  # the ledger knew the id, with another content
    REFUSED = "refused"
    NOT_YET_READ = "not_yet_read"
    LOST = "lost"  # the pipeline read past it and kept nothing: must not happen


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery's fate, and the batch that settled it."""

    fate: Fate
    batch_id: int | None
    reason: str | None  # of a refusal


def explain(connection: psycopg.Connection, source: str, id: str) -> tuple[Step, ...]:
    """Every step of an event that the ledger knows of, in order; none when it never came that far."""
    given = {"identity": UUID(bytes=keys.identity(source, id)), "source": source, "id": id}
    with connection.cursor(row_factory=class_row(Step)) as cursor:
        return tuple(cursor.execute(queries.load("journey")["steps"], given).fetchall())


def fate_of(connection: psycopg.Connection, partition: int, offset: int, identity: bytes) -> Delivery:
    """What became of the record at a source offset, whose identity is given.

    A record that the ledger has read past and kept no row of was dropped by the dedupe room as a duplicate, if its batch dropped any
    and the ledger holds the event; else it was lost.
    """
    given = {"partition": partition, "offset": offset, "identity": UUID(bytes=identity)}
    row = connection.execute(queries.load("journey")["fate"], given).fetchone()
    if row is None:
        raise ValueError("the ledger gave no answer")
    refused, conflict, duplicate, late, droppable, batch_id, read = row
    if not read:
        return Delivery(Fate.NOT_YET_READ, None, None)
    if refused is not None:
        return Delivery(Fate.REFUSED, batch_id, refused)
    if late is not None:
        return Delivery(Fate.CAPTURED_LATE if late else Fate.CAPTURED, batch_id, None)
    if conflict:
        return Delivery(Fate.CONFLICT, batch_id, None)
    if duplicate:
        return Delivery(Fate.DUPLICATE, batch_id, None)
    return Delivery(Fate.DROPPED if droppable else Fate.LOST, batch_id, None)
