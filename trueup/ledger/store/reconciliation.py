"""What Stripe said when it was read, kept beside the ledger; and the two compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import psycopg
from psycopg.rows import class_row

from trueup.contracts.catalogue import Catalogue
from trueup.contracts.errors import Broken
from trueup.ledger.store import plans, queries
from trueup.ledger.store.instants import instant
from trueup.ledger.store.plans import Seen

# What view derived.check_hours_equal_summaries calls wrong: no work on its way explains it, and a person has to look.
ALARMING = frozenset({"rejected", "foreign_event", "sent_twice", "window_edge", "unexplained"})


@dataclass(frozen=True, slots=True)
class Lane:
    """A Stripe customer on a Stripe meter, and whose it is with us."""

    lane_id: int
    customer: str
    meter: str
    stripe_customer: str
    stripe_event_name: str
    scale: int
    roll_up_seconds: int
    summary_settle_seconds: int
    read_at_ms: int | None  # when all its hours were last read


@dataclass(frozen=True, slots=True)
class OpenHour:
    """An hour that no reading has settled yet."""

    lane_id: int
    hour_start_ms: int
    touched_at_ms: int | None  # the newest answer about it
    read_at_ms: int | None
    differs: bool


@dataclass(frozen=True, slots=True)
class HourReading:
    """Stripe's figure for one hour."""

    hour_start_ms: int
    value_text: str
    quantity: int  # smallest unit
    exact: bool


@dataclass(frozen=True, slots=True)
class SilentPair:
    """A Stripe customer and a Stripe meter that nothing was ever sent for."""

    stripe_customer: str
    stripe_event_name: str
    scale: int
    roll_up_seconds: int


@dataclass(frozen=True, slots=True)
class BilledCustomer:
    """A customer of ours that has a Stripe customer."""

    customer: str
    stripe_customer: str
    read_at_ms: int | None  # when its subscriptions were last read
    subscriptions: int | None  # how many it had then


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """One usage line of the invoice that Stripe would write now."""

    price_id: str
    subscription_item_id: str | None
    stripe_event_name: str | None
    quantity: Decimal  # in the meter's unit
    period_start_ms: int
    period_end_ms: int


@dataclass(frozen=True, slots=True)
class StoredPreview:
    """What a subscription's price would be invoiced with, when it was last asked."""

    stripe_customer: str
    subscription_id: str
    price_id: str
    stripe_event_name: str | None
    quantity: Decimal
    read_at_ms: int


@dataclass(frozen=True, slots=True)
class ReconciliationRow:
    """A row of view finance.stripe_reconciliation."""

    customer_id: str
    meter: str
    hour_start: datetime
    quantity_ledger: Decimal
    quantity_acknowledged: Decimal
    quantity_in_flight: Decimal
    quantity_stripe: Decimal | None
    difference: Decimal | None
    explanation: str
    read_at: datetime | None
    settled: bool
    unit: str


def lanes(connection: psycopg.Connection, customer: str | None = None) -> list[Lane]:
    """Every lane there is, or those of one customer."""
    with connection.cursor(row_factory=class_row(Lane)) as cursor:
        return cursor.execute(_sql("lanes"), {"customer": customer}).fetchall()


def open_hours(connection: psycopg.Connection) -> list[OpenHour]:
    """Hours that something was sent for and that no reading has settled."""
    with connection.cursor(row_factory=class_row(OpenHour)) as cursor:
        return cursor.execute(_sql("open_hours")).fetchall()


def newest_outcome(connection: psycopg.Connection) -> int:
    """A number that grows whenever an answer of Stripe was recorded."""
    row = connection.execute(_sql("newest_outcome")).fetchone()
    return 0 if row is None else int(row[0])


def store_hours(
    connection: psycopg.Connection, lane_id: int, from_ms: int, to_ms: int, readings: Sequence[HourReading], read_at_ms: int, *, full: bool
) -> None:
    """Keep what one reading of a lane's hours [from, to) gave; an older reading never replaces a newer one."""
    with connection.transaction():
        connection.execute(
            _sql("store_hours"),
            {
                "lane_id": lane_id,
                "from": instant(from_ms),
                "to": instant(to_ms),
                "hours_ms": [reading.hour_start_ms for reading in readings],
                "values": [reading.value_text for reading in readings],
                "quantities": [Decimal(reading.quantity) for reading in readings],
                "exact": [reading.exact for reading in readings],
                "read_at": instant(read_at_ms),
            },
        )
        if full:
            connection.execute(_sql("store_lane_read"), {"lane_id": lane_id, "read_at": instant(read_at_ms)})


def silent_pairs(connection: psycopg.Connection, customer: str | None = None, unread_since_ms: int | None = None) -> list[SilentPair]:
    """Pairs that nothing was ever sent for: of one customer or of all, and all of them or those that were not read since an instant."""
    given = {"customer": customer, "since": None if unread_since_ms is None else instant(unread_since_ms)}
    with connection.cursor(row_factory=class_row(SilentPair)) as cursor:
        return cursor.execute(_sql("silent_pairs"), given).fetchall()


def store_pair(
    connection: psycopg.Connection,
    pair: SilentPair,
    from_ms: int,
    to_ms: int,
    readings: Sequence[HourReading],
    read_at_ms: int,
    *,
    full: bool,
) -> None:
    """Keep that Stripe was asked about a pair; what somebody else sent for it makes a lane, whose hours are kept."""
    given = {"stripe_customer": pair.stripe_customer, "stripe_event_name": pair.stripe_event_name}
    with connection.transaction():
        if any(reading.quantity or not reading.exact for reading in readings):
            connection.execute(_sql("make_lane"), given)
            # In a statement of its own: whoever made it a moment ago is seen by now.
            row = connection.execute(_sql("lane_of"), given).fetchone()
            if row is None:
                raise Broken(f"there is no lane of {pair.stripe_customer} and {pair.stripe_event_name} after it was made")
            store_hours(connection, int(row[0]), from_ms, to_ms, readings, read_at_ms, full=full)
        elif full:
            connection.execute(_sql("store_pair_read"), given | {"read_at": instant(read_at_ms)})


def billed_customers(connection: psycopg.Connection, customer: str | None = None) -> list[BilledCustomer]:
    """Customers with a Stripe customer, or one of them."""
    with connection.cursor(row_factory=class_row(BilledCustomer)) as cursor:
        return cursor.execute(_sql("customers"), {"customer": customer}).fetchall()


def store_subscriptions(
    connection: psycopg.Connection,
    billed: BilledCustomer,
    seen: Sequence[Seen],
    catalogue: Catalogue | None,
    previews_of: Mapping[str, Sequence[PreviewLine]],
    read_at_ms: int,
    *,
    whole: bool = True,
) -> None:
    """Keep a customer's plans, the usage lines of each subscription's preview, and that all of it was read, if it was the whole."""
    with connection.transaction():
        if catalogue is not None:
            for subscription in seen:
                plans.learn(connection, subscription, catalogue)
        for subscription_id, lines in previews_of.items():
            _store_preview(connection, billed.stripe_customer, subscription_id, lines, read_at_ms)
        if whole:
            connection.execute(
                _sql("store_subscription_read"),
                {"stripe_customer": billed.stripe_customer, "subscription_ids": list(previews_of), "read_at": instant(read_at_ms)},
            )


def _store_preview(
    connection: psycopg.Connection, stripe_customer: str, subscription_id: str, lines: Sequence[PreviewLine], read_at_ms: int
) -> None:
    """Lines of one price are added up."""
    connection.execute(
        _sql("store_preview"),
        {
            "stripe_customer": stripe_customer,
            "subscription_id": subscription_id,
            "prices": [line.price_id for line in lines],
            "items": [line.subscription_item_id for line in lines],
            "event_names": [line.stripe_event_name for line in lines],
            "quantities": [line.quantity for line in lines],
            "starts_ms": [line.period_start_ms for line in lines],
            "ends_ms": [line.period_end_ms for line in lines],
            "read_at": instant(read_at_ms),
        },
    )


def previews(connection: psycopg.Connection) -> list[StoredPreview]:
    """What every subscription's prices would be invoiced with, when they were last asked."""
    with connection.cursor(row_factory=class_row(StoredPreview)) as cursor:
        return cursor.execute(_sql("previews")).fetchall()


def newest_catalogue_text(connection: psycopg.Connection) -> str | None:
    """The newest catalogue the ledger knows; None without any."""
    row = connection.execute(_sql("newest_catalogue")).fetchone()
    return None if row is None else str(row[0])


def set_round(
    connection: psycopg.Connection, *, read_age_seconds: int, last_round_at_ms: int | None = None, last_success_at_ms: int | None = None
) -> None:
    """Say how often is read, and that a round was made; what is None stays as it was."""
    connection.execute(
        _sql("set_round"),
        {
            "read_age_seconds": read_age_seconds,
            "last_round_at": None if last_round_at_ms is None else instant(last_round_at_ms),
            "last_success_at": None if last_success_at_ms is None else instant(last_success_at_ms),
        },
    )


def last_round(connection: psycopg.Connection) -> tuple[int | None, int | None]:
    """When the last round began, and when one last succeeded."""
    row = connection.execute(_sql("last_round")).fetchone()
    return (None, None) if row is None else (row[0], row[1])


def rows(
    connection: psycopg.Connection, customer: str | None = None, from_ms: int | None = None, to_ms: int | None = None
) -> list[ReconciliationRow]:
    """The ledger beside Stripe, hour by hour."""
    given = {
        "customer": customer,
        "from": None if from_ms is None else instant(from_ms),
        "to": None if to_ms is None else instant(to_ms),
    }
    with connection.cursor(row_factory=class_row(ReconciliationRow)) as cursor:
        return cursor.execute(_sql("rows"), given).fetchall()


def differences(connection: psycopg.Connection) -> Mapping[str, Decimal]:
    """Settled differences per meter, in its unit, without sign."""
    return dict(connection.execute(_sql("differences")).fetchall())


def open_reviews(connection: psycopg.Connection) -> Mapping[str, int]:
    """How many cases of each kind wait for a person."""
    return {kind: int(count) for kind, count in connection.execute(_sql("open_reviews"))}


def _sql(name: str) -> bytes:
    return queries.load("reconciliation")[name]
