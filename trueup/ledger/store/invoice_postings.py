"""What was billed leaves acknowledged: one ledger transaction per subscription item and period, under the lane's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import psycopg
from psycopg.rows import class_row

from trueup.ledger.invoices import Allocation, BilledItem, Holding
from trueup.ledger.store import barrier, queries
from trueup.ledger.store.invoices import in_64_bits

Divide = Callable[[BilledItem, Sequence[Holding]], tuple[int, Sequence[Allocation]]]
"""Gives the billed quantity in the smallest unit, and how each intent's quantity is divided."""


def to_post(connection: psycopg.Connection) -> list[BilledItem]:
    """Items on finalized invoices of which nothing is posted yet, or of whose period Stripe acknowledged more since."""
    return _to_post(connection, None)


def _to_post(connection: psycopg.Connection, one: BilledItem | None) -> list[BilledItem]:
    given = {
        "invoice_id": None if one is None else one.invoice_id,
        "subscription_item_id": None if one is None else one.subscription_item_id,
        "period_start": None if one is None else one.period_start,
    }
    with connection.cursor(row_factory=class_row(BilledItem)) as cursor:
        found = cursor.execute(_sql("to_post"), given).fetchall()
    # Sums of a whole period are numeric in SQL: 64 bits may not hold them.
    return [replace(item, quantity_invoiced=int(item.quantity_invoiced), quantity_missed=int(item.quantity_missed)) for item in found]


def post(connection: psycopg.Connection, item: BilledItem, divide: Divide, writer: str) -> bool:
    """Post what was billed of one item; False when there is nothing to post any more. Running it again changes nothing."""
    with connection.transaction():
        barrier.share(connection)
        if item.lane_id is not None:
            connection.execute(_sql("lock_lane"), {"lane_id": item.lane_id})
        # Under the lock, and in a statement that began after it was given: somebody else may have posted a moment ago.
        now = _to_post(connection, item)
        if not now:
            return False
        return _post(connection, now[0], divide, writer)


def _post(connection: psycopg.Connection, item: BilledItem, divide: Divide, writer: str) -> bool:
    with connection.cursor(row_factory=class_row(Holding)) as cursor:
        holdings = cursor.execute(_sql("holdings"), asdict(item)).fetchall()
    billed, allocations = divide(item, holdings)
    amounts = [in_64_bits(allocation.amount_missed_minor) for allocation in allocations]
    batch_id = barrier.next_batch(connection)
    connection.execute(queries.load("dispatch_cut")["insert_batch"], {"batch_id": batch_id, "kind": "invoice", "writer": writer})
    posting = connection.execute(
        _sql("insert_posting"),
        {
            "cause_key": f"{item.invoice_id}:{item.subscription_item_id}:{int(item.period_start.timestamp())}:{item.postings}",
            "invoice_id": item.invoice_id,
            "snapshot_id": item.snapshot_id,
            "subscription_item_id": item.subscription_item_id,
            "price_id": item.price_id,
            "lane_id": item.lane_id,
            "period_start": item.period_start,
            "period_end": item.period_end,
            "quantity_billed": billed,
            "quantity_acknowledged": sum(holding.quantity for holding in holdings),
            "quantity_invoiced": sum(allocation.quantity_invoiced for allocation in allocations),
            "quantity_missed": sum(allocation.quantity_missed for allocation in allocations),
            "amount_missed_minor": None if None in amounts else in_64_bits(sum(amount or 0 for amount in amounts)),
            "currency": item.currency,
            "batch_id": batch_id,
        },
    ).fetchone()
    if posting is None:
        raise psycopg.Rollback
    connection.execute(
        _sql("allocate"),
        {
            "invoice_posting_id": posting[0],
            "batch_id": batch_id,
            "intent_ids": [allocation.intent_id for allocation in allocations],
            "invoiced": [allocation.quantity_invoiced for allocation in allocations],
            "events_invoiced": [allocation.events_invoiced for allocation in allocations],
            "missed": [allocation.quantity_missed for allocation in allocations],
            "events_missed": [allocation.events_missed for allocation in allocations],
            "amounts": amounts,
        },
    )
    return True


def _sql(name: str) -> bytes:
    return queries.load("invoices")[name]
