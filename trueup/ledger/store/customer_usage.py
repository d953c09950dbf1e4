"""One customer's usage and bill, read by a role that may read nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.rows import class_row

from trueup.contracts.errors import Transient
from trueup.ledger import migrate
from trueup.ledger.customer_usage import CustomerEvent, EventPage, Facts, FinalLine, Held, ItemPeriod, Known, MeterUnit, Progress
from trueup.ledger.store import queries
from trueup.ledger.store.instants import instant

# Events are found by the batch that brought them: reading one costs what a batch holds, so that a page reads so many and no more.
MOST_BATCHES = 50
MOST_EVENTS_DIVIDED, MOST_BATCHES_DIVIDED = 500_000, 5_000
_LAST_OFFSET = 2**63 - 1


def require_current(connection: psycopg.Connection) -> None:
    """Refuse a database that is older or newer than this code, seen with a reader's eyes."""
    try:
        row = connection.execute(_sql("version")).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege) as error:
        raise Transient("the ledger's schema is missing or old: run `trueup migrate`") from error
    if row is None or row[0] != migrate.head():
        raise Transient(f"the ledger stands at migration {row[0] if row else 'none'}, this code at {migrate.head()}")


@contextmanager
def one_picture(connection: psycopg.Connection) -> Iterator[None]:
    """Let everything that is read inside be of the same moment."""
    with connection.transaction():
        connection.execute(_sql("one_picture"))
        yield


def known(connection: psycopg.Connection, customer: str) -> Known:
    """Who a customer is."""
    given = {"customer": customer}
    meters = tuple(row[0] for row in connection.execute(_sql("meters_of"), given))
    stripe_customers = tuple(row[0] for row in connection.execute(_sql("stripe_customers_of"), given))
    with connection.cursor(row_factory=class_row(ItemPeriod)) as cursor:
        return Known(customer, meters, stripe_customers, tuple(cursor.execute(_sql("periods"), given).fetchall()))


def facts(connection: psycopg.Connection, who: Known, items: Sequence[ItemPeriod], bounds_ms: Sequence[int]) -> Facts:
    """Read what a bill of these items is made of, in the stretches between these bounds, of which the first and last are the bill's own."""
    given = {"customer": who.customer, "start": instant(bounds_ms[0]), "end": instant(bounds_ms[-1])}
    stretches = {"bounds": [instant(bound) for bound in bounds_ms]}
    named = {"stripe_customers": list(who.stripe_customers), "items": [item.subscription_item_id for item in items]}
    with connection.cursor(row_factory=class_row(FinalLine)) as cursor:
        final_lines = tuple(cursor.execute(_sql("final_lines"), given | named).fetchall())
    # A final invoice may have lines at prices that its items have no more.
    price_ids = {"price_ids": list({*(item.price_id for item in items), *(line.price_id for line in final_lines)})}
    return Facts(
        # A sum may be beyond 64 bits: the database gives it as a decimal.
        held=tuple(
            Held(meter, stripe_customer, event_name, account, stretch, int(total))
            for meter, stripe_customer, event_name, account, stretch, total in connection.execute(_sql("holdings"), given | stretches)
        ),
        corrections={meter: int(quantity) for meter, quantity in connection.execute(_sql("corrections"), given)},
        units=units(connection),
        prices={row[0]: row[4] for row in connection.execute(_sql("prices"), price_ids)},
        final_lines=final_lines,
    )


def units(connection: psycopg.Connection) -> dict[str, MeterUnit]:
    """What each meter counts in."""
    return {meter: MeterUnit(unit, scale) for meter, unit, scale in connection.execute(_sql("units"))}


def progress(connection: psycopg.Connection, partitions: int) -> tuple[Progress, ...]:
    """How far each partition of the source topic is in the ledger."""
    return tuple(Progress(*row) for row in connection.execute(_sql("progress"), {"partitions": partitions}))


def events(
    connection: psycopg.Connection, customer: str, meter: str | None, bounds_ms: tuple[int, int], after: tuple[int, int], limit: int
) -> EventPage:
    """List a customer's events behind a place. A page may be short of its limit and still not be the last."""
    given = {
        "customer": customer,
        "meter": meter,
        "start": instant(bounds_ms[0]),
        "end": instant(bounds_ms[1]),
        "after_batch": after[0],
        "after_offset": after[1],
    }
    # A batch that was read to its end is not looked at again.
    first = after[0] + 1 if after[1] == _LAST_OFFSET else after[0]
    batches = [row[0] for row in connection.execute(_sql("batches"), given | {"first_batch": first, "most": MOST_BATCHES})]
    with connection.cursor(row_factory=class_row(CustomerEvent)) as cursor:
        found = cursor.execute(_sql("events"), given | {"batches": batches, "limit": limit + 1}).fetchall()
    if len(found) > limit:
        last = found[limit - 1]
        return EventPage(tuple(found[:limit]), (last.batch_id, last.source_offset))
    more = len(batches) == MOST_BATCHES
    return EventPage(tuple(found), (batches[-1], _LAST_OFFSET) if more else None)


def by_dimension(
    connection: psycopg.Connection, customer: str, bounds_ms: tuple[int, int], dimension: str
) -> list[tuple[str, str | None, int]] | None:
    """Divide what was counted by a dimension: meter, value, quantity. None when that would be too much reading."""
    given = {"customer": customer, "start": instant(bounds_ms[0]), "end": instant(bounds_ms[1])}
    row = connection.execute(_sql("events_to_read"), given).fetchone()
    if row is None or row[0] > MOST_EVENTS_DIVIDED or row[1] > MOST_BATCHES_DIVIDED:
        return None
    return [
        (meter, value, int(quantity))
        for meter, value, quantity in connection.execute(_sql("by_dimension"), given | {"dimension": dimension})
    ]


def _sql(name: str) -> bytes:
    return queries.load("customer_usage")[name]
