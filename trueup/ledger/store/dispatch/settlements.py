"""Settling by reading: two equal readings of Stripe's summary, a still lane, one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from trueup.ledger.intents import LaneHour, Reading, UnknownIntent
from trueup.ledger.store import barrier, queries


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reading settles: these intents landed, or the lane halts for this reason."""

    landed: Collection[int]
    halted_reason: str | None = None


Decide = Callable[[Reading], Verdict]


def hours(connection: psycopg.Connection) -> list[LaneHour]:
    """Lane hours that are settled by reading, the earliest due first."""
    with connection.cursor(row_factory=class_row(LaneHour)) as cursor:
        return cursor.execute(_sql("hours")).fetchall()


def lease(connection: psycopg.Connection, hour: LaneHour, holder: str, lease_seconds: float) -> int | None:
    """Make the lane stand still; its epoch, or None when somebody has it."""
    row = connection.execute(_sql("lease_one"), {"lane_id": hour.lane_id, "holder": holder, "lease_seconds": lease_seconds}).fetchone()
    return None if row is None else int(row[0])


def renew(connection: psycopg.Connection, hour: LaneHour, epoch: int, lease_seconds: float) -> bool:
    """Hold a leased lane from now on for as long again; False when it has become somebody else's."""
    return connection.execute(_sql("renew"), {"lane_id": hour.lane_id, "epoch": epoch, "lease_seconds": lease_seconds}).rowcount == 1


def read(connection: psycopg.Connection, hour: LaneHour, epoch: int, stripe: int, decide: Decide, writer: str) -> bool:
    """Take a reading into account, and settle the hour if it is the second of two that agree. True when the hour is closed."""
    where = {"lane_id": hour.lane_id, "hour_start": hour.hour_start}
    with connection.transaction():
        barrier.share(connection)
        if not _still_ours(connection, hour.lane_id, epoch):
            return False
        first = connection.execute(_sql("first_read"), where).fetchone()
        if first is None or int(first[0]) != stripe:
            connection.execute(_sql("remember_read"), where | {"quantity": stripe})
            return False
        if not first[2]:
            return False
        unknown = tuple(UnknownIntent(int(row[0]), int(row[1])) for row in connection.execute(_sql("unknown"), where))
        reading = Reading(unknown, _acknowledged(connection, hour), stripe, first[1])
        verdict = decide(reading)
        connection.execute(_sql("forget_read"), where)
        if verdict.halted_reason is not None:
            connection.execute(_sql("halt_lane"), {"lane_id": hour.lane_id, "epoch": epoch, "reason": verdict.halted_reason})
        else:
            _settle(connection, hour, epoch, reading, verdict, writer)
    return True


def _settle(connection: psycopg.Connection, hour: LaneHour, epoch: int, reading: Reading, verdict: Verdict, writer: str) -> None:
    batch_id = barrier.next_batch(connection)
    connection.execute(queries.load("dispatch_cut")["insert_batch"], {"batch_id": batch_id, "kind": "settlement", "writer": writer})
    landed = [item.intent_id in verdict.landed for item in reading.unknown]
    total = sum(item.quantity for item in reading.unknown)
    quantity_landed = sum(item.quantity for item, is_landed in zip(reading.unknown, landed, strict=True) if is_landed)
    connection.execute(
        _sql("settle"),
        {
            "intent_ids": [item.intent_id for item in reading.unknown],
            "landed": landed,
            "batch_id": batch_id,
            "epoch": epoch,
            "lane_id": hour.lane_id,
            "hour_start": hour.hour_start,
            "unknown": total,
            "acknowledged": reading.acknowledged,
            "stripe": reading.stripe,
            "quantity_landed": quantity_landed,
            "remainder": total - quantity_landed,
            "first_read_at": reading.first_read_at,
        },
    )


def _still_ours(connection: psycopg.Connection, lane_id: int, epoch: int) -> bool:
    rows = connection.execute(queries.load("dispatch_lane")["lock_lanes"], {"lane_ids": [lane_id]}).fetchall()
    return rows == [(lane_id, epoch)]


def _acknowledged(connection: psycopg.Connection, hour: LaneHour) -> int:
    row = connection.execute(_sql("acknowledged"), {"lane_id": hour.lane_id, "hour_start": hour.hour_start}).fetchone()
    return 0 if row is None else int(row[0])


def _sql(name: str) -> bytes:
    return queries.load("dispatch_settle")[name]
