"""The proof: every check evaluated in one snapshot, and what their statuses mean for whoever asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import psycopg
from psycopg.rows import class_row

from trueup.ledger.store import queries

# A proof over a large ledger reads every event; it may take longer than other statements.
STATEMENT_TIMEOUT_SECONDS = 1_800


class Status(StrEnum):
    """What a check says of its claim."""

    OK = "ok"
    PENDING = "pending"
    VIOLATED = "violated"
    STALE = "stale"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Check:
    """One check's row, with the columns of view finance.proof."""

    check_name: str
    status: str
    evaluated: int
    violations: int
    pending: int
    oldest_pending_at: datetime | None
    pending_limit_seconds: int | None
    basis_as_of: datetime | None
    meaning: str
    checked_at: datetime
    stale: int
    required: bool  # stored rows say that there must be something to evaluate


@dataclass(frozen=True, slots=True)
class Proof:
    """All checks of one snapshot, and the source offsets at which it was cut."""

    checks: tuple[Check, ...]
    next_offset_of_partition: tuple[tuple[int, int], ...]


def prove(connection: psycopg.Connection, *, deep: bool = False) -> Proof:
    """Evaluate the checks in one repeatable-read, read-only snapshot. The connection must stand in autocommit."""
    statements = queries.load("proof")
    with connection.transaction():
        connection.execute(statements["snapshot"])
        connection.execute(statements["patience"], {"milliseconds": str(STATEMENT_TIMEOUT_SECONDS * 1_000)})
        with connection.cursor(row_factory=class_row(Check)) as cursor:
            checks = cursor.execute(statements["checks"]).fetchall()
            if deep:
                checks += cursor.execute(statements["deep_checks"]).fetchall()
        offsets = connection.execute(statements["source_offsets"]).fetchall()
    return Proof(tuple(checks), tuple([(int(partition), int(offset)) for partition, offset in offsets]))


def verdict(rows: Iterable[Check], require_all: bool = False) -> int:
    """The exit code: 0 only when nothing is violated or stale, nothing empty that must apply, and, with `require_all`, nothing empty."""
    return 1 if failures(tuple(rows), require_all) else 0


def failures(rows: Sequence[Check], require_all: bool = False) -> tuple[Check, ...]:
    """The checks for which the answer is no. No checks at all prove nothing: that is refused by raising."""
    if not rows:
        raise ValueError("a proof without checks proves nothing")
    return tuple(
        [
            row
            for row in rows
            if row.status in (Status.VIOLATED, Status.STALE) or (row.status == Status.EMPTY and (row.required or require_all))
        ]
    )
