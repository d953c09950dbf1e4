"""Arming: a recorded act that first compares each lane with Stripe. A new or restored database is disarmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import psycopg
from psycopg.rows import class_row

from trueup.contracts.errors import Broken
from trueup.contracts.quantities import summary_to_smallest
from trueup.ledger.store import deployment, queries
from trueup.ledger.store.clock import now_ms
from trueup.ledger.store.deployment import Deployment

HOUR_MS = 3_600_000
SINK = "stripe_sink"
"""Who disarms a ledger that was put back, as the record has it."""


class StripeReader(Protocol):
    """What arming asks of Stripe."""

    def account(self) -> Deployment:
        """Whose key this is, and in which mode."""

    def summary_values(self, stripe_customer: str, event_name: str, start_ms: int, end_ms: int) -> Sequence[float]:
        """The values of the summaries between two whole hours; none when there is no such meter or no usage."""


@dataclass(frozen=True, slots=True)
class LaneDifference:
    """A lane on which Stripe and the ledger do not agree, or where an outcome is unknown; in the meter's smallest unit."""

    stripe_customer: str
    stripe_event_name: str
    acknowledged: int
    stripe: int
    unknown_intents: int
    blocks: bool
    """Whether sending now could count usage twice: Stripe has what we do not know of, or may have."""


@dataclass(frozen=True, slots=True)
class ArmingReport:
    """What an attempt to arm found and did."""

    armed: bool
    why: str
    lanes_compared: int
    differences: tuple[LaneDifference, ...]


@dataclass(frozen=True, slots=True)
class HaltedLane:
    """A lane that waits for a person."""

    stripe_customer: str
    stripe_event_name: str
    reason: str
    halted_at_ms: int


@dataclass(frozen=True, slots=True)
class OutboxState:
    """What waits on our side in one state."""

    state: str
    items: int
    oldest_ms: int | None
    deadline_ms: int | None


@dataclass(frozen=True, slots=True)
class DispatchStatus:
    """Whether usage goes to Stripe, and what is in the way."""

    armed: bool
    why: str
    database_identity: str
    deployment: Deployment | None
    paused_customers: tuple[str, ...]
    halted_lanes: tuple[HaltedLane, ...]
    outbox: tuple[OutboxState, ...]
    nearest_deadline_ms: int | None


@dataclass(frozen=True, slots=True)
class _Lane:
    stripe_customer: str
    stripe_event_name: str
    scale: int
    from_ms: int
    acknowledged: Decimal
    unknown: int
    unknown_quantity: Decimal


def arm(
    connection: psycopg.Connection,
    reader: StripeReader,
    *,
    reason: str,
    by: str,
    customer: str | None = None,
    accept_differences: bool = False,
) -> ArmingReport:
    """Compare each lane with Stripe, then arm the deployment or one customer, and let halted lanes try again.

    Refuses another account or mode than the ledger's. Refuses lanes where Stripe has more than was acknowledged or may have been
    received of calls whose outcome is unknown, unless told to accept them: sending then could bill twice. Where this database was
    not the last that was armed, or was put back since, an unknown outcome is a refusal by itself: the other may have gone on.
    """
    account = reader.account()
    held = deployment.held(connection)
    if held is not None and held != account:
        return ArmingReport(False, f"this ledger belongs to {held}, the key to {account}", 0, ())
    compared, differences = compare(connection, reader, customer)
    blocking = [item for item in differences if item.blocks]
    if blocking and not accept_differences:
        why = f"{len(blocking)} of {compared} lanes: Stripe has, or may have, more than this ledger sent"
        return ArmingReport(False, why, compared, differences)
    with connection.transaction():
        deployment.record(connection, account)
        connection.execute(_sql("release_lanes"), {"stripe_customer": _stripe_customer(connection, customer)})
        _record(connection, "arm", customer, reason, by, compared, len(differences))
    return ArmingReport(True, "armed", compared, differences)


def disarm(connection: psycopg.Connection, *, reason: str, by: str, customer: str | None = None) -> None:
    """Stop sending, whole or for one customer. Calls under way are finished and recorded."""
    _record(connection, "disarm", customer, reason, by, 0, 0)


def compare(connection: psycopg.Connection, reader: StripeReader, customer: str | None = None) -> tuple[int, tuple[LaneDifference, ...]]:
    """Set each lane's acknowledged usage of the last 34 days beside Stripe's summaries: how many, and which differ."""
    end_ms = (now_ms(connection) // HOUR_MS + 1) * HOUR_MS
    with connection.cursor(row_factory=class_row(_Lane)) as cursor:
        lanes = cursor.execute(_sql("lanes"), {"customer": customer}).fetchall()
    went_on = _went_on(connection)
    differences = []
    for lane in lanes:
        values = reader.summary_values(lane.stripe_customer, lane.stripe_event_name, lane.from_ms, end_ms)
        stripe = sum(summary_to_smallest(value, lane.scale) for value in values)
        acknowledged = int(lane.acknowledged)
        if stripe != acknowledged or lane.unknown:
            most = acknowledged + (int(lane.unknown_quantity) if went_on else 0)
            blocks = stripe > most or (lane.unknown > 0 and not went_on)
            differences.append(LaneDifference(lane.stripe_customer, lane.stripe_event_name, acknowledged, stripe, lane.unknown, blocks))
    return len(lanes), tuple(differences)


def status(connection: psycopg.Connection) -> DispatchStatus:
    """Whether this database may send, since when and by whom, and what waits."""
    identity_row = connection.execute(_sql("identity")).fetchone()
    identity, armed = (str(identity_row[0]), bool(identity_row[1])) if identity_row else ("", False)
    latest = connection.execute(_sql("latest")).fetchone()
    waiting = outbox(connection)
    deadlines = [item.deadline_ms for item in waiting if item.deadline_ms is not None]
    return DispatchStatus(
        armed=armed,
        why=_why(armed, identity, latest),
        database_identity=identity,
        deployment=deployment.held(connection),
        paused_customers=tuple(str(row[0]) for row in connection.execute(_sql("paused_customers"))),
        halted_lanes=tuple(HaltedLane(*row) for row in connection.execute(_sql("halted_lanes"))),
        outbox=waiting,
        nearest_deadline_ms=min(deadlines, default=None),
    )


def server_start(connection: psycopg.Connection) -> str:
    """Which database this is and since when its server runs: another text after every restart, failover or restore."""
    row = connection.execute(_sql("server_start")).fetchone()
    if row is None:
        raise Broken("the ledger does not say since when its server runs")
    return str(row[0])


def outbox(connection: psycopg.Connection) -> tuple[OutboxState, ...]:
    """What waits on our side, by state."""
    return tuple(OutboxState(*row) for row in connection.execute(_sql("outbox")))


def halted_counts(connection: psycopg.Connection) -> Mapping[str, int]:
    """How many lanes wait for a person, by reason."""
    return {str(reason): int(count) for reason, count in connection.execute(_sql("halted_counts"))}


def _why(armed: bool, identity: str, latest: tuple[object, ...] | None) -> str:
    if latest is None:
        return "never armed"
    action, reason, acted_by, armed_identity, _ = latest
    if armed:
        return f"armed by {acted_by}: {reason}"
    if action == "arm" and armed_identity != identity:
        return f"armed for another database ({armed_identity}): this one ({identity}) is new or restored"
    return f"disarmed by {acted_by}: {reason}"


def _went_on(connection: psycopg.Connection) -> bool:
    """Whether nobody but this database can have sent since it was armed: a pause changes nothing, another identity or a restore does.

    What is unknown then goes out again under its own identifier once it is armed, as it would have without the pause.
    """
    row = connection.execute(_sql("went_on"), {"sink": SINK}).fetchone()
    return row is not None and bool(row[0])


def _stripe_customer(connection: psycopg.Connection, customer: str | None) -> str | None:
    if customer is None or customer.startswith("cus_"):
        return customer
    row = connection.execute(_sql("mapped"), {"customer": customer}).fetchone()
    return customer if row is None else str(row[0])


def _record(connection: psycopg.Connection, action: str, customer: str | None, reason: str, by: str, compared: int, different: int) -> None:
    connection.execute(
        _sql("record"),
        {
            "action": action,
            "customer": customer,
            "reason": reason,
            "acted_by": by,
            "compared": compared,
            "different": different,
        },
    )


def _sql(name: str) -> bytes:
    return queries.load("arming")[name]
