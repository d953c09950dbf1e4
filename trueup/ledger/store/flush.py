"""Flushes: everything captured of a customer is cut now, sent, and done when Stripe's summaries show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from trueup.contracts.errors import Broken
from trueup.ledger.store import queries
from trueup.ledger.store.instants import instant


@dataclass(frozen=True, slots=True)
class Flush:
    """Where a flush stands."""

    open_quantities: Mapping[str, int]  # by meter, smallest unit: unsent or in flight
    done: bool  # nothing is open, and Stripe's summaries show all of it
    refused: str | None  # why it cannot end by itself


@dataclass(frozen=True, slots=True)
class OpenFlush:
    """A flush that is not done."""

    flush_id: int
    customer: str
    reason: str


@dataclass(frozen=True, slots=True)
class FlushedLane:
    """A lane and the hours in which what was flushed lies."""

    lane_id: int
    stripe_event_name: str
    stripe_customer: str
    scale: int
    from_ms: int
    to_ms: int


def request(connection: psycopg.Connection, customer: str, reason: str) -> int:
    """Ask that everything captured of a customer until now is sent now; gives the flush's number.

    Usage dated ahead of now, in a window that has not begun, is not part of it.
    """
    row = connection.execute(_sql("request"), {"customer": customer, "reason": reason}).fetchone()
    if row is None:
        raise Broken("a flush was not recorded")
    return int(row[0])


def state(connection: psycopg.Connection, flush_id: int) -> Flush:
    """Say where a flush stands; LookupError for a number that was never given."""
    row = connection.execute(_sql("find"), {"flush_id": flush_id}).fetchone()
    if row is None:
        raise LookupError(f"there is no flush {flush_id}")
    customer, through, requested_at, done, armed, stripe_customer, paused, never_billed = row
    found = connection.execute(_sql("quantities"), {"customer": customer, "through": through, "requested_at": requested_at}).fetchall()
    stuck = connection.execute(_sql("stuck"), {"customer": customer, "through": through, "requested_at": requested_at}).fetchall()
    if never_billed:
        refused: str | None = f"{customer} is never billed"
    elif stuck:
        refused = "; ".join(f"usage of {meter} waits for a person: {waits_for}" for meter, waits_for in stuck)
    else:
        refused = _refusal(connection, customer, stripe_customer, armed=armed, paused=paused, anything_open=bool(found))
    return Flush({meter: int(quantity) for meter, quantity, _items in found}, bool(done), None if done else refused)


def open_flushes(connection: psycopg.Connection) -> list[OpenFlush]:
    """Flushes that are not done, the oldest first."""
    with connection.cursor(row_factory=class_row(OpenFlush)) as cursor:
        return cursor.execute(_sql("open")).fetchall()


def hasten(connection: psycopg.Connection) -> int:
    """Make due now what flushes wait for; says how many segments."""
    return connection.execute(_sql("hasten")).rowcount


def uncut(connection: psycopg.Connection) -> bool:
    """Whether something that a flush waits for lies behind the last cut."""
    row = connection.execute(_sql("uncut")).fetchone()
    return row is not None and bool(row[0])


def pending(connection: psycopg.Connection) -> bool:
    """Whether a flush waits for the cutter, now."""
    row = connection.execute(_sql("pending")).fetchone()
    return (row is not None and bool(row[0])) or uncut(connection)


def lanes(connection: psycopg.Connection, customer: str) -> list[FlushedLane]:
    """The lanes and hours of a customer of which Stripe's summaries have not been seen to show everything since the last answer."""
    with connection.cursor(row_factory=class_row(FlushedLane)) as cursor:
        return cursor.execute(_sql("lanes"), {"customer": customer}).fetchall()


def acknowledged(connection: psycopg.Connection, lane: FlushedLane) -> int:
    """What Stripe acknowledged of a lane in its hours, by the timestamps sent."""
    given = {"lane_id": lane.lane_id, "from": instant(lane.from_ms), "to": instant(lane.to_ms)}
    row = connection.execute(_sql("acknowledged"), given).fetchone()
    return 0 if row is None else int(row[0])


def done(connection: psycopg.Connection, flush_id: int) -> None:
    """Say that Stripe has all of it."""
    connection.execute(_sql("done"), {"flush_id": flush_id})


def _refusal(
    connection: psycopg.Connection, customer: str, stripe_customer: str | None, *, armed: bool, paused: bool, anything_open: bool
) -> str | None:
    if stripe_customer is None:
        return f"{customer} has no Stripe customer"
    if not anything_open:
        meters = [str(meter) for (meter,) in connection.execute(_sql("refused_afterwards"), {"customer": customer})]
        return f"Stripe refused usage of {', '.join(meters)} that it had received: see `trueup reconcile`" if meters else None
    if not armed:
        return "dispatch is disarmed"
    if paused:
        return f"{customer} is paused"
    row = connection.execute(_sql("halted"), {"stripe_customer": stripe_customer}).fetchone()
    return None if row is None else f"lane {row[0]} is halted: {row[1]}"


def _sql(name: str) -> bytes:
    return queries.load("flush")[name]
