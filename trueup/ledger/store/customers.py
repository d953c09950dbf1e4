"""Our customer ids and Stripe's: an append-only timeline, one to one both ways.

A Stripe customer belongs to one customer for ever; a customer may move to another Stripe customer, and the newest mapping holds.
An id that starts with `cus_` stands for itself without being mapped. A customer may instead be said to be never billed, for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg.errors import UniqueViolation

from trueup.contracts.errors import Poison
from trueup.contracts.events import LONGEST_NAME
from trueup.ledger.store import queries

STRIPE_PREFIX = "cus_"
STRIPE_ID = f"^{STRIPE_PREFIX}[!-~]+$"
"""What Stripe's id of a customer looks like: no blank, and nothing beyond ASCII."""


SHAPE = f"its id is {STRIPE_PREFIX} and more, without a blank"


def is_stripe_id(text: str) -> bool:
    """Whether this can be Stripe's id of a customer."""
    return re.fullmatch(STRIPE_ID, text) is not None


class RefusedMapping(Poison):
    """This mapping would give one Stripe customer to two customers, or a customer away that stands for itself."""


@dataclass(frozen=True, slots=True)
class CustomerMapping:
    """One line of the timeline."""

    customer: str
    stripe_customer: str
    reason: str
    recorded_by: str
    recorded_at_ms: int


class RefusedNeverBilling(Poison):
    """This customer is somebody at Stripe, so that it cannot be one who is never billed there."""


@dataclass(frozen=True, slots=True)
class NeverBilled:
    """A customer who is never billed through Stripe."""

    customer: str
    reason: str
    recorded_by: str
    recorded_at_ms: int


def map_customer(connection: psycopg.Connection, customer: str, stripe_customer: str, *, reason: str, recorded_by: str) -> bool:
    """Record a mapping; False when it is in force already. RefusedMapping says whose the Stripe customer is."""
    statements = queries.load("customers")
    _check(customer, stripe_customer)
    try:
        with connection.transaction():
            connection.execute(statements["lock"])
            in_force = connection.execute(statements["in_force"], {"customer": customer}).fetchone()
            if in_force is not None and in_force[0] == stripe_customer:
                return False
            if is_never_billed(connection, customer):
                raise RefusedMapping(f"{customer} is never billed, for ever: it is given no Stripe customer")
            _refuse_second_owner(connection, customer, stripe_customer)
            connection.execute(
                statements["add"],
                {"customer": customer, "stripe_customer": stripe_customer, "reason": reason, "recorded_by": recorded_by},
            )
    except UniqueViolation as error:
        raise RefusedMapping(f"{stripe_customer} was given to another customer at this moment") from error
    return True


def never_bill(connection: psycopg.Connection, customer: str, *, reason: str, recorded_by: str) -> bool:
    """Record that a customer is never billed; False when that was said already. RefusedNeverBilling says who it is at Stripe."""
    statements = queries.load("customers")
    if not customer or "\0" in customer or len(customer) > LONGEST_NAME:
        raise RefusedNeverBilling(f"a customer's id has 1 to {LONGEST_NAME} characters, and no NUL")
    if customer.startswith(STRIPE_PREFIX):
        raise RefusedNeverBilling(f"{customer} is a Stripe customer's id and stands for itself")
    with connection.transaction():
        connection.execute(statements["lock"])
        if is_never_billed(connection, customer):
            return False
        in_force = connection.execute(statements["in_force"], {"customer": customer}).fetchone()
        if in_force is not None:
            raise RefusedNeverBilling(f"{customer} is {in_force[0]} at Stripe; only who was never mapped can be never billed")
        connection.execute(statements["add_never_billed"], {"customer": customer, "reason": reason, "recorded_by": recorded_by})
    return True


def is_never_billed(connection: psycopg.Connection, customer: str) -> bool:
    """Whether a customer was said to be never billed."""
    row = connection.execute(queries.load("customers")["is_never_billed"], {"customer": customer}).fetchone()
    return row is not None and bool(row[0])


def never_billed(connection: psycopg.Connection, customer: str | None = None) -> list[NeverBilled]:
    """Who is never billed, in the order in which it was said; one customer, or all."""
    return [NeverBilled(*row) for row in connection.execute(queries.load("customers")["never_billed"], {"customer": customer})]


def import_mappings(
    connection: psycopg.Connection, pairs: Iterable[tuple[str, str]], *, reason: str, recorded_by: str
) -> tuple[int, list[tuple[int, str]]]:
    """Record many, all or none. Gives how many are new, and (line, why) of each that is refused, counted from 1."""
    faults: list[tuple[int, str]] = []
    said: dict[str, str] = {}
    new = 0
    with connection.transaction() as transaction:
        for line, (customer, stripe_customer) in enumerate(pairs, start=1):
            if said.setdefault(customer, stripe_customer) != stripe_customer:
                faults.append((line, f"{customer} stands there twice: as {said[customer]} too"))
                continue
            try:
                new += map_customer(connection, customer, stripe_customer, reason=reason, recorded_by=recorded_by)
            except RefusedMapping as refused:
                faults.append((line, str(refused)))
        if faults:
            new = 0
            raise psycopg.Rollback(transaction)
    return new, faults


def resolve(connection: psycopg.Connection, customers: Iterable[str]) -> Mapping[str, str | None]:
    """The Stripe customer of each, None while unmapped."""
    rows = connection.execute(queries.load("customers")["resolve"], {"customers": sorted(set(customers))})
    return dict(rows.fetchall())


def is_known(connection: psycopg.Connection, customer: str) -> bool:
    """Whether the ledger ever heard of a customer: by a mapping, by being never billed, or by usage."""
    row = connection.execute(queries.load("customers")["known"], {"customer": customer}).fetchone()
    return row is not None and bool(row[0])


def timeline(connection: psycopg.Connection, customer: str | None = None) -> list[CustomerMapping]:
    """Every mapping ever recorded, oldest first; of one customer, or of all."""
    rows = connection.execute(queries.load("customers")["timeline"], {"customer": customer})
    return [CustomerMapping(*row) for row in rows]


def _check(customer: str, stripe_customer: str) -> None:
    if not customer:
        raise RefusedMapping("a customer's id is not empty")
    if not is_stripe_id(stripe_customer):
        raise RefusedMapping(f"{stripe_customer!r} is no Stripe customer: {SHAPE}")
    if customer.startswith(STRIPE_PREFIX) and customer != stripe_customer:
        raise RefusedMapping(f"{customer} is a Stripe customer's id and stands for itself")


def _refuse_second_owner(connection: psycopg.Connection, customer: str, stripe_customer: str) -> None:
    statements = queries.load("customers")
    owner = connection.execute(statements["belongs_to"], {"stripe_customer": stripe_customer}).fetchone()
    if owner is not None and owner[0] != customer:
        raise RefusedMapping(f"{stripe_customer} belongs to customer {owner[0]}")
    if owner is not None:
        raise RefusedMapping(f"{stripe_customer} was {customer}'s before; a mapping that was left is not taken up again")
    if stripe_customer != customer:
        used = connection.execute(statements["has_usage"], {"customer": stripe_customer}).fetchone()
        if used is not None and used[0]:
            raise RefusedMapping(f"{stripe_customer} has usage under its own id and stands for itself")
