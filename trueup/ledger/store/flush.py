"""Flushes: everything captured of a customer is cut now, sent, and done when Stripe's summaries show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from trueup.contracts.errors import Broken
from trueup.ledger.store import queries
from trueup.ledger.store.instants import instant

# What no cut will take before a person has acted.
_STUCK = ["no_plan", "ambiguous_plan", "no_price", "no_event_name", "value_too_long", "too_large"]


@dataclass(frozen=True, slots=True)
class Flush:
    """Where a flush stands."""

    open_quantities: Mapping[str, int]  # by meter, smallest unit: unsent or in flight
    done: bool  # nothing is open, and Stripe's summaries show all of it
    refused: str | None  # why it cannot end by itself


@dataclass(frozen=True, slots=True)
class OpenFlush:
    """A flush that is not done, as it was last asked for."""

    flush_id: int
    customer: str
    reason: str
    through_batch: int
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class Left:
    """What of a flush is not through."""

    open_quantities: Mapping[str, int]  # by meter, smallest unit: unsent or in flight
    waits_for_a_person: bool  # all that is open does, and nothing else is left to do


@dataclass(frozen=True, slots=True)
class FlushedLane:
    """A lane and the minutes in which what was flushed lies."""

    lane_id: int
    stripe_event_name: str
    stripe_customer: str
    scale: int
    from_ms: int
    to_ms: int


def request(connection: psycopg.Connection, customer: str, reason: str) -> int:
    """Ask that everything captured of a customer until now is sent now; gives the flush's number.

    Asked again for the same reason while it is open, it is the same flush, and means what was captured since as well.
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
    customer, through, requested_at, done, compared, armed, stripe_customer, paused, never_billed = row
    given = {"customer": customer, "through": through, "requested_at": requested_at, "stuck": _STUCK}
    found = _left(connection, given)
    stuck = connection.execute(_sql("stuck"), given).fetchall()
    if done:
        refused: str | None = None
    elif never_billed:
        refused = f"{customer} is never billed"
    elif stuck:
        refused = "; ".join(f"usage of {meter} waits for a person: {waits_for}" for meter, waits_for in stuck)
    elif stripe_customer is None:
        refused = f"{customer} has no Stripe customer"
    elif not found.open_quantities:
        refused = _difference(connection, customer, compared=compared)
    else:
        refused = _hindrance(connection, customer, stripe_customer, armed=armed, paused=paused)
    return Flush(open_quantities=found.open_quantities, done=bool(done), refused=refused)


def left(connection: psycopg.Connection, one: OpenFlush) -> Left:
    """Say what of a flush is not through."""
    given = {"customer": one.customer, "through": one.through_batch, "requested_at": one.requested_at, "stuck": _STUCK}
    return _left(connection, given)


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
    """The lanes and minutes of a customer of which Stripe's summaries have not been seen to show everything since the last answer."""
    with connection.cursor(row_factory=class_row(FlushedLane)) as cursor:
        return cursor.execute(_sql("lanes"), {"customer": customer}).fetchall()


def acknowledged(connection: psycopg.Connection, lane: FlushedLane) -> int:
    """What Stripe acknowledged of a lane in its hours, by the timestamps sent."""
    given = {"lane_id": lane.lane_id, "from": instant(lane.from_ms), "to": instant(lane.to_ms)}
    row = connection.execute(_sql("acknowledged"), given).fetchone()
    return 0 if row is None else int(row[0])


def done(connection: psycopg.Connection, one: OpenFlush) -> bool:
    """Say that Stripe has all of it; False where it was asked for again since it was looked at."""
    return connection.execute(_sql("done"), _as_looked_at(one)).rowcount == 1


def compared(connection: psycopg.Connection, one: OpenFlush) -> None:
    """Say that Stripe was asked, and did not show all of it."""
    connection.execute(_sql("compared"), _as_looked_at(one))


def _as_looked_at(one: OpenFlush) -> dict[str, object]:
    return {"flush_id": one.flush_id, "through": one.through_batch, "requested_at": one.requested_at}


def _left(connection: psycopg.Connection, given: Mapping[str, object]) -> Left:
    found = connection.execute(_sql("quantities"), given).fetchall()
    return Left(
        open_quantities={meter: int(quantity) for meter, quantity, _stuck in found},
        waits_for_a_person=bool(found) and all(stuck for _meter, _quantity, stuck in found),
    )


def _difference(connection: psycopg.Connection, customer: str, *, compared: bool) -> str | None:
    """Say why Stripe will never show what it acknowledged.

    A reading counts once Stripe was asked for this very flush: it may have counted more since it was read.
    """
    meters = [str(meter) for (meter,) in connection.execute(_sql("refused_afterwards"), {"customer": customer})]
    if meters:
        return f"Stripe refused usage of {', '.join(meters)} that it had received: see `trueup reconcile`"
    if not compared:
        return None
    lasting = connection.execute(_sql("lasting"), {"customer": customer}).fetchall()
    said = ", ".join(f"{meter} ({explanation})" for meter, explanation in lasting)
    return f"Stripe's summaries differ from what it acknowledged of {said}: see `trueup reconcile`" if said else None


def _hindrance(connection: psycopg.Connection, customer: str, stripe_customer: str, *, armed: bool, paused: bool) -> str | None:
    """Say what keeps usage from being sent."""
    if not armed:
        return "dispatch is disarmed"
    if paused:
        return f"{customer} is paused"
    row = connection.execute(_sql("halted"), {"stripe_customer": stripe_customer}).fetchone()
    return None if row is None else f"lane {row[0]} is halted: {row[1]}"


def _sql(name: str) -> bytes:
    return queries.load("flush")[name]
