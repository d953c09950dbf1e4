"""What stands where: account balances, outcomes and refusals, as the closing table of a demo shows them."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from trueup.ledger.store import queries

FILE = "balances"


def by_customer_and_meter(connection: psycopg.Connection) -> Mapping[tuple[str, str], dict[str, int]]:
    """Balances by account name, in the smallest unit; accounts that hold nothing are left out."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for customer, meter, account, quantity in connection.execute(queries.load(FILE)["by_customer_and_meter"]):
        found.setdefault((customer, meter), {})[account] = int(quantity)
    return found


def outcomes(connection: psycopg.Connection) -> Mapping[str, int]:
    """How many deliveries ended on time, late, as duplicate, conflict or refused, and how many arrived."""
    cursor = connection.execute(queries.load(FILE)["outcomes"])
    names = [column.name for column in cursor.description or ()]
    row = cursor.fetchone() or ()
    return dict(zip(names, (int(value) for value in row), strict=True))


def events(connection: psycopg.Connection) -> Mapping[tuple[str, str], str]:
    """Every accepted event and its outcome."""
    rows = connection.execute(queries.load(FILE)["events"])
    return {(source, id): "late" if late else "on_time" for source, id, late in rows}


def refusals(connection: psycopg.Connection) -> Mapping[str, int]:
    """Refused deliveries by reason."""
    return {reason: int(count) for reason, count in connection.execute(queries.load(FILE)["refusals"])}


def cases_without_amount(connection: psycopg.Connection) -> int:
    """How many cases of usage have a billing period and no amount."""
    row = connection.execute(queries.load(FILE)["cases_without_amount"]).fetchone()
    return 0 if row is None else int(row[0])
