"""Billing periods as facts: what Stripe said they are, what became of them, and until when their usage may be sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

import psycopg
from psycopg.rows import class_row

from trueup.contracts.errors import Broken
from trueup.contracts.periods import BillingPeriod, Calendar
from trueup.ledger.store import queries
from trueup.ledger.store.instants import instant


@dataclass(frozen=True, slots=True)
class Standing:
    """A version of what is known of periods, mappings and the catalogue, and the date."""

    version: tuple[int, ...]
    now_ms: int

    @property
    def any_period(self) -> bool:
        """Whether any period is known at all."""
        return self.version[0] > 0


@dataclass(frozen=True, slots=True)
class PeriodFact:
    """A billing period of a subscription item, as Stripe said it."""

    subscription_item_id: str
    subscription_id: str
    stripe_customer: str
    price_id: str
    stripe_event_name: str
    plan: str | None
    currency: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class PeriodEvent:
    """What became of a period."""

    subscription_item_id: str
    start_ms: int
    status: str
    invoice_id: str | None
    deadline_ms: int | None
    deadline_basis: str | None
    why: str


@dataclass(frozen=True, slots=True)
class OpenPeriod:
    """A period that is not settled."""

    subscription_item_id: str
    subscription_id: str
    stripe_customer: str
    stripe_event_name: str
    start_ms: int
    end_ms: int
    status: str
    invoice_id: str | None
    finalizes_ms: int
    deadline_basis: str


def standing(connection: psycopg.Connection) -> Standing:
    """Say which version of the periods is known now, cheaply."""
    row = connection.execute(queries.load("periods")["standing"]).fetchone()
    if row is None:
        raise Broken("the ledger gave no version of its periods")
    return Standing(tuple([int(number) for number in row[:-1]]), int(row[-1]))


def calendars(connection: psycopg.Connection, subjects: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Calendar]:
    """The periods of each (customer, meter); every one that was asked for has an entry."""
    asked = list(subjects)
    found: dict[tuple[str, str], list[BillingPeriod]] = defaultdict(list)
    given = {"customers": [customer for customer, _ in asked], "meters": [meter for _, meter in asked]}
    for customer, meter, start_ms, end_ms, deadline_ms in connection.execute(queries.load("periods")["calendars"], given):
        found[customer, meter].append(BillingPeriod(int(start_ms), int(end_ms), int(deadline_ms)))
    return {subject: Calendar(tuple(found.get(subject, ()))) for subject in asked}


def record_period(connection: psycopg.Connection, fact: PeriodFact) -> bool:
    """Record what Stripe said of a period; False when that stands there already."""
    given = {
        "subscription_item_id": fact.subscription_item_id,
        "subscription_id": fact.subscription_id,
        "stripe_customer": fact.stripe_customer,
        "price_id": fact.price_id,
        "stripe_event_name": fact.stripe_event_name,
        "plan": fact.plan,
        "currency": fact.currency,
        "period_start": instant(fact.start_ms),
        "period_end": instant(fact.end_ms),
    }
    row = connection.execute(
        queries.load("periods")["facts_of_period"],
        {"subscription_item_id": fact.subscription_item_id, "period_start": instant(fact.start_ms)},
    ).fetchone()
    told = 0 if row is None else int(row[0])
    cause = _cause("period", told, *given.values())
    return connection.execute(queries.load("periods")["add_period"], given | {"cause_key": cause}).rowcount == 1


def record_event(connection: psycopg.Connection, event: PeriodEvent) -> bool:
    """Record what became of a period; False when that stands there already."""
    given = {
        "subscription_item_id": event.subscription_item_id,
        "period_start": instant(event.start_ms),
        "status": event.status,
        "invoice_id": event.invoice_id,
        "deadline": None if event.deadline_ms is None else instant(event.deadline_ms),
        "deadline_basis": event.deadline_basis,
    }
    cause = _cause("event", *given.values())
    added = connection.execute(queries.load("periods")["add_event"], given | {"why": event.why, "cause_key": cause})
    return added.rowcount == 1


def unsettled(connection: psycopg.Connection) -> list[OpenPeriod]:
    """Every period that is not settled, the earliest end first."""
    with connection.cursor(row_factory=class_row(OpenPeriod)) as cursor:
        return cursor.execute(queries.load("periods")["open"]).fetchall()


def _cause(kind: str, *parts: object) -> str:
    """One short key of many parts, each with its length so that no two sets of parts give the same."""
    text = "".join(f"{len(str(part))}:{part}" for part in parts)
    return f"{kind}:{sha256(text.encode()).hexdigest()}"
