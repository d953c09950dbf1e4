"""Billing periods as facts: what Stripe said they are, what became of them, and until when their usage may be sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from trueup.contracts.errors import Broken
from trueup.contracts.periods import BillingPeriod, Calendar
from trueup.ledger.periods import PeriodEvent, PeriodFact
from trueup.ledger.store import queries
from trueup.ledger.store.instants import instant


@dataclass(frozen=True, slots=True)
class Standing:
    """A version of what is known of periods, mappings and the catalogue, the newest customer who is never billed, and the date."""

    version: tuple[int, ...]
    newest_never_billed: int
    now_ms: int

    @property
    def any_period(self) -> bool:
        """Whether any period is known at all."""
        return self.version[0] > 0


@dataclass(frozen=True, slots=True)
class DuePeriod:
    """A period that is not done with, and everything it is judged by."""

    subscription_item_id: str
    subscription_id: str
    stripe_customer: str
    customer: str
    stripe_event_name: str
    scale: int
    start_ms: int
    end_ms: int
    minute_start_ms: int
    minute_end_ms: int
    status: str
    invoice_id: str | None
    finalizes_ms: int
    deadline_basis: str
    margin_ms: int
    summary_settle_seconds: int
    unsent_segments: int
    expired_intents: int  # which a person has by now
    open_intents: int
    acknowledged: Decimal  # smallest unit, in the period's whole minutes
    any_usage: bool
    answered_ms: int | None
    checked_acknowledged: Decimal | None
    quantity_stripe: Decimal | None
    read_ms: int | None
    previous_quantity_stripe: Decimal | None
    previous_read_ms: int | None
    provable: bool
    why_not: str | None
    captured_by_ms: int  # when the last usage on time for it has arrived
    captured: bool  # all that arrived until then is in the ledger
    foretold_ms: int  # when its invoice becomes final, as the newest date said that was told in time

    @property
    def equal(self) -> bool:
        """Whether Stripe's summary showed what is acknowledged now."""
        return self.acknowledged == self.checked_acknowledged == self.quantity_stripe


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event of Stripe, as it is kept."""

    event_id: str
    type: str
    object_id: str | None
    stripe_customer: str | None
    created_ms: int
    received_at_ms: int
    via: str
    body: str


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Stripe's report on meter events that it received and then refused."""

    event_id: str
    stripe_meter_id: str | None
    created_ms: int
    error_count: int
    codes: tuple[str, ...]
    body: str


def standing(connection: psycopg.Connection) -> Standing:
    """Say which version of the periods is known now, cheaply."""
    row = connection.execute(queries.load("periods")["standing"]).fetchone()
    if row is None:
        raise Broken("the ledger gave no version of its periods")
    return Standing(tuple([int(number) for number in row[:-2]]), int(row[-2]), int(row[-1]))


def calendars(connection: psycopg.Connection, subjects: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Calendar]:
    """The periods of each (customer, meter), and when the customer changed plans; every one that was asked for has an entry."""
    asked = list(subjects)
    found: dict[tuple[str, str], list[BillingPeriod]] = defaultdict(list)
    given = {"customers": [customer for customer, _ in asked], "meters": [meter for _, meter in asked]}
    for customer, meter, start_ms, end_ms, deadline_ms in connection.execute(queries.load("periods")["calendars"], given):
        found[customer, meter].append(BillingPeriod(int(start_ms), int(end_ms), int(deadline_ms)))
    changes: dict[str, list[int]] = defaultdict(list)
    for customer, change_ms in connection.execute(queries.load("periods")["plan_changes"], given):
        changes[customer].append(int(change_ms))
    return {subject: Calendar(tuple(found.get(subject, ())), tuple(changes.get(subject[0], ()))) for subject in asked}


def held(connection: psycopg.Connection, item_ids: Iterable[str]) -> dict[str, list[PeriodFact]]:
    """What is known of the periods of subscription items, the earliest first; nothing of those never told of."""
    found: dict[str, list[PeriodFact]] = defaultdict(list)
    with connection.cursor(row_factory=class_row(PeriodFact)) as cursor:
        for fact in cursor.execute(queries.load("periods")["held"], {"item_ids": list(item_ids)}):
            found[fact.subscription_item_id].append(fact)
    return found


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
    told = _times_told(connection, "facts_of_period", fact.subscription_item_id, fact.start_ms)
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
    told = _times_told(connection, "events_of_period", event.subscription_item_id, event.start_ms)
    cause = _cause("event", told, *given.values())
    added = connection.execute(queries.load("periods")["add_event"], given | {"why": event.why, "cause_key": cause})
    return added.rowcount == 1


def due(connection: psycopg.Connection, stripe_customers: Iterable[str]) -> list[DuePeriod]:
    """Every period of these customers that is not done with, the earliest end first."""
    with connection.cursor(row_factory=class_row(DuePeriod)) as cursor:
        return cursor.execute(queries.load("periods")["due"], {"stripe_customers": list(stripe_customers)}).fetchall()


def unsettled(connection: psycopg.Connection) -> list[str]:
    """Stripe customers with periods that are not done with."""
    return [customer for (customer,) in connection.execute(queries.load("periods")["unsettled"])]


def store_check(connection: psycopg.Connection, period: DuePeriod, stripe: int, read_at_ms: int) -> None:
    """Keep what a period's summary showed, beside what stood in acknowledged when it was asked for."""
    connection.execute(
        queries.load("periods")["store_check"],
        {
            "subscription_item_id": period.subscription_item_id,
            "period_start": instant(period.start_ms),
            "acknowledged": period.acknowledged,
            "stripe": Decimal(stripe),
            "read_at": instant(read_at_ms),
        },
    )


def captured_offsets(connection: psycopg.Connection, partitions: Iterable[int]) -> dict[int, int]:
    """Up to which offset partitions of the source topic are captured."""
    given = {"partitions": list(partitions)}
    return {int(partition): int(offset) for partition, offset in connection.execute(queries.load("periods")["captured_offsets"], given)}


def store_captured_through(connection: psycopg.Connection, through_ms: int) -> None:
    """Say that all usage which arrived before an instant is captured."""
    connection.execute(queries.load("periods")["store_captured_through"], {"through": instant(through_ms)})


def record_told(connection: psycopg.Connection, events: Iterable[ToldEvent]) -> list[ToldEvent]:
    """Keep events of Stripe; gives those that were new."""
    new = []
    with connection.transaction():
        for event in events:
            given = {
                "event_id": event.event_id,
                "type": event.type,
                "object_id": event.object_id,
                "stripe_customer": event.stripe_customer,
                "created": instant(event.created_ms),
                "received_at": instant(event.received_at_ms),
                "via": event.via,
                "body": event.body,
            }
            if connection.execute(queries.load("periods")["add_stripe_event"], given).rowcount:
                new.append(event)
    return new


def last_webhook_ms(connection: psycopg.Connection) -> int | None:
    """When a notification of Stripe's reached the door last, as far as it is kept."""
    row = connection.execute(queries.load("periods")["last_webhook"]).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def polled_ms(connection: psycopg.Connection) -> int | None:
    """When Stripe's list of events was polled last."""
    row = connection.execute(queries.load("periods")["polled"]).fetchone()
    return None if row is None else int(row[0])


def store_poll(connection: psycopg.Connection, polled_at_ms: int, missed: int) -> int | None:
    """Say that Stripe's list of events was polled, and how many no webhook had brought; gives when a poll last found such a one."""
    row = connection.execute(queries.load("periods")["store_poll"], {"polled_at": instant(polled_at_ms), "missed": missed}).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def newest_report_ms(connection: psycopg.Connection) -> int | None:
    """The date of Stripe's newest report on refused meter events."""
    row = connection.execute(queries.load("periods")["newest_report"]).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def record_reports(connection: psycopg.Connection, reports: Iterable[ErrorReport]) -> list[ErrorReport]:
    """Keep Stripe's reports on refused meter events; gives those that were new."""
    new = []
    with connection.transaction():
        for report in reports:
            given = {
                "event_id": report.event_id,
                "stripe_meter_id": report.stripe_meter_id,
                "created": instant(report.created_ms),
                "error_count": report.error_count,
                "body": report.body,
            }
            if connection.execute(queries.load("periods")["add_report"], given).rowcount:
                new.append(report)
    return new


def deadlines(connection: psycopg.Connection) -> dict[str, int]:
    """The earliest deadline of what is not through yet, by state."""
    return {state: int(at) for state, at in connection.execute(queries.load("periods")["at_risk"]) if at is not None}


def lately_not_provable(connection: psycopg.Connection) -> dict[str, tuple[int, Decimal]]:
    """How many periods were not provable at their deadline within the last day, and the minor units at stake, by currency."""
    found = connection.execute(queries.load("periods")["lately_not_provable"])
    return {currency: (int(count), amount) for currency, count, amount in found}


def shown(connection: psycopg.Connection, customer: str | None = None) -> list[dict[str, Any]]:
    """Rows of finance.period_status as they are, of one customer or of all."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(queries.load("periods")["shown"], {"customer": customer}).fetchall()


def _times_told(connection: psycopg.Connection, query: str, subscription_item_id: str, start_ms: int) -> int:
    """How often a period was told of: the same content told after another one is a new fact."""
    given = {"subscription_item_id": subscription_item_id, "period_start": instant(start_ms)}
    row = connection.execute(queries.load("periods")[query], given).fetchone()
    return 0 if row is None else int(row[0])


def _cause(kind: str, *parts: object) -> str:
    """One short key of many parts, each with its length so that no two sets of parts give the same."""
    text = "".join(f"{len(str(part))}:{part}" for part in parts)
    return f"{kind}:{sha256(text.encode()).hexdigest()}"
