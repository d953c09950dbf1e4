"""Refused deliveries, each with its reason and, up to 64 KiB, its bytes."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from trueup.ledger.store import queries

FILE = "refusals"


def page(connection: psycopg.Connection, *, reason: str | None, customer: str | None, most: int, counted: bool) -> list[dict[str, Any]]:
    """The newest refusals, without their bytes; those whose event counts by now only where `counted` says so."""
    given = {"reason": reason, "customer": customer, "most": most, "counted": counted}
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(queries.load(FILE)["page"], given).fetchall()


def one(connection: psycopg.Connection, partition: int, offset: int) -> dict[str, Any] | None:
    """The refusal of the record that stood here on the source topic."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(queries.load(FILE)["one"], {"partition": partition, "offset": offset}).fetchone()
