"""What became of an event, as its publisher may know it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import psycopg

from trueup.contracts import keys
from trueup.contracts.events import Outcome
from trueup.ledger.store import journey, queries
from trueup.ledger.store.journey import Step


@dataclass(frozen=True, slots=True)
class Standing:
    """The outcome of the delivery that counts, how many others the ledger saw, and every step on the way."""

    outcome: Outcome
    duplicates: int
    conflicts: int
    refusal: tuple[str, str | None, str] | None  # reason, field, detail
    steps: tuple[Step, ...]


def standing(connection: psycopg.Connection, source: str, id: str) -> Standing | None:
    """What the ledger knows of an event; None while it knows nothing: it may be on its way, or never have been sent."""
    given = {"identity": UUID(bytes=keys.identity(source, id)), "source": source, "id": id}
    with connection.transaction():
        row = connection.execute(queries.load("publisher_view")["standing"], given).fetchone()
        steps = journey.explain(connection, source, id)
    if row is None:
        raise ValueError("the ledger gave no answer")
    late, duplicates, conflicts, refusal = row
    if late is None and not refusal:
        return None
    outcome = Outcome.REFUSED if late is None else Outcome.LATE if late else Outcome.ON_TIME
    return Standing(outcome, duplicates, conflicts, tuple(refusal) if refusal else None, steps)


def captured_through(connection: psycopg.Connection, partition: int) -> int:
    """Up to which offset a partition of the source topic was captured."""
    row = connection.execute(queries.load("publisher_view")["captured_through"], {"partition": partition}).fetchone()
    return 0 if row is None else int(row[0])
