"""Lanes: leased under an epoch, one call in flight each; an answer is posted under its own epoch or kept as evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from trueup.ledger.intents import Call, Pick, Result
from trueup.ledger.store import barrier, queries

KeyOf = Callable[[Pick], str]


@dataclass(frozen=True, slots=True)
class Posted:
    """What storing a batch of answers did."""

    stored: int
    posted: int  # quantities moved out of in_flight
    settled: int  # intents that got their final outcome


@dataclass(frozen=True, slots=True)
class Work:
    """What lanes that are not halted have before them."""

    to_send: int
    to_settle: int
    next_horizon_ms: int | None  # the next date from which something may not be sent again


def claim(connection: psycopg.Connection, holder: str, *, lease_seconds: float, most: int, key_of: KeyOf) -> list[Call]:
    """Lease free lanes and write down one attempt for each; when this returns the calls may be made, once each."""
    with connection.transaction():
        leased = connection.execute(_sql("lease"), {"holder": holder, "lease_seconds": lease_seconds, "most": most}).fetchall()
        if not leased:
            return []
        picks = _pick(connection, leased)
        calls = _write_attempts(connection, picks, holder, key_of) if picks else []
        chosen = {pick.lane_id for pick in picks}
        _free(connection, [(lane_id, epoch) for lane_id, epoch in leased if lane_id not in chosen])
    return calls


def post(connection: psycopg.Connection, results: Sequence[Result], writer: str) -> Posted:
    """Store answers, and move what they settle. Running it again with the same answers changes nothing."""
    with connection.transaction():
        lane_ids = [result.call.pick.lane_id for result in results]
        epochs: dict[int, int] = dict(connection.execute(_sql("lock_lanes"), {"lane_ids": lane_ids}).fetchall())
        own = [epochs.get(result.call.pick.lane_id) == result.call.pick.epoch for result in results]
        batch_id = None
        if any(result.final and mine for result, mine in zip(results, own, strict=True)):
            batch_id = barrier.next_batch(connection)
            connection.execute(_sql_cut("insert_batch"), {"batch_id": batch_id, "kind": "outcome", "writer": writer})
        row = connection.execute(_sql("post"), _columns(results) | {"batch_id": batch_id, "own": own}).fetchone()
    return Posted(0, 0, 0) if row is None else Posted(*map(int, row))


def work(connection: psycopg.Connection) -> Work:
    """What is left to send and to settle, lanes that are halted and customers that are paused apart."""
    with connection.cursor(row_factory=class_row(Work)) as cursor:
        return cursor.execute(_sql("work")).fetchone() or Work(0, 0, None)


def may_send(connection: psycopg.Connection, pick: Pick) -> bool:
    """Whether a call may still be made: under the lease it was picked under, and before its deadline as it is known now."""
    given = {"lane_id": pick.lane_id, "epoch": pick.epoch, "intent_id": pick.intent_id}
    row = connection.execute(_sql("may_send"), given).fetchone()
    return row is not None and bool(row[0])


def expire(connection: psycopg.Connection, writer: str, most: int = 200) -> int:
    """Give a person what missed its deadline before any call for it may have arrived; says how many intents."""
    lane_ids = [int(row[0]) for row in connection.execute(_sql_cut("expiring"), {"most": most})]
    if not lane_ids:
        return 0
    with connection.transaction():
        # Whoever is about to write an attempt holds its lane; under the lock either the attempt stands there, or there is none.
        connection.execute(_sql("lock_lanes"), {"lane_ids": lane_ids})
        batch_id = barrier.next_batch(connection)
        connection.execute(_sql_cut("insert_batch"), {"batch_id": batch_id, "kind": "outcome", "writer": writer})
        row = connection.execute(_sql_cut("expire"), {"lane_ids": lane_ids, "batch_id": batch_id}).fetchone()
    return 0 if row is None else int(row[0])


def free(connection: psycopg.Connection, lane_id: int, epoch: int) -> None:
    """Give a lane back without an answer; nothing happens when it has another holder by now."""
    _free(connection, [(lane_id, epoch)])


def _pick(connection: psycopg.Connection, leased: list[tuple[int, int]]) -> list[Pick]:
    with connection.cursor(row_factory=class_row(Pick)) as cursor:
        return cursor.execute(
            _sql("pick"), {"lane_ids": [lane_id for lane_id, _ in leased], "epochs": [epoch for _, epoch in leased]}
        ).fetchall()


def _write_attempts(connection: psycopg.Connection, picks: list[Pick], holder: str, key_of: KeyOf) -> list[Call]:
    keys = {pick.intent_id: key_of(pick) for pick in picks}
    rows = connection.execute(
        _sql("attempt"),
        {
            "intent_ids": [pick.intent_id for pick in picks],
            "epochs": [pick.epoch for pick in picks],
            "keys": [keys[pick.intent_id] for pick in picks],
            "holder": holder,
        },
    ).fetchall()
    attempts: dict[int, int] = dict(rows)
    return [Call(pick, attempts[pick.intent_id], keys[pick.intent_id]) for pick in picks]


def _free(connection: psycopg.Connection, leased: Sequence[tuple[int, int]]) -> None:
    if leased:
        connection.execute(_sql("free"), {"lane_ids": [lane_id for lane_id, _ in leased], "epochs": [epoch for _, epoch in leased]})


def _columns(results: Sequence[Result]) -> dict[str, object]:
    return {
        "lane_ids": [result.call.pick.lane_id for result in results],
        "epochs": [result.call.pick.epoch for result in results],
        "intent_ids": [result.call.pick.intent_id for result in results],
        "attempt_ids": [result.call.attempt_id for result in results],
        "classes": [result.outcome_class for result in results],
        "finals": [result.final for result in results],
        "arrived": [result.may_have_arrived for result in results],
        "earlier": [result.call.pick.earlier_may_have_arrived for result in results],
        "statuses": [result.http_status for result in results],
        "codes": [result.stripe_code for result in results],
        "messages": [result.message for result in results],
        "request_ids": [result.request_id for result in results],
        "halts": [result.halted_reason for result in results],
        "settling": [result.settling for result in results],
        "waits_seconds": [result.wait_seconds for result in results],
    }


def _sql(name: str) -> bytes:
    return queries.load("dispatch_lane")[name]


def _sql_cut(name: str) -> bytes:
    return queries.load("dispatch_cut")[name]
