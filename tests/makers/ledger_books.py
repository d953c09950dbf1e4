"""What the ledger must hold after given deliveries: a dict of first payloads, compared with the tables row by row."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg

from trueup.contracts.events import UsageEvent
from trueup.ledger.store import queries


def oracle(
    deliveries: Iterable[tuple[UsageEvent, bool]],
) -> tuple[dict[tuple[str, str], tuple[UsageEvent, bool]], int, int, dict[tuple[str, str, int, str], int]]:
    """First payloads, the number of duplicates and of conflicts, and totals per customer, meter, five minutes and account."""
    held: dict[tuple[str, str], tuple[UsageEvent, bool]] = {}
    duplicates = conflicts = 0
    for event, late in deliveries:
        known = held.setdefault((event.source, event.id), (event, late))
        if known[0] is not event:
            duplicates += known[0] == event
            conflicts += known[0] != event
    totals: dict[tuple[str, str, int, str], int] = {}
    for event, late in held.values():
        weight = event.quantity if event.meter == "tokens" else (-1 if event.quantity < 0 or event.corrects else 1)
        key = (event.customer, event.meter, event.event_time_ms // 300_000 * 300_000, "in_review" if late else "unsent")
        totals[key] = totals.get(key, 0) + weight
    return held, duplicates, conflicts, totals


def assert_books_are(connection: psycopg.Connection, deliveries: Iterable[tuple[UsageEvent, bool]]) -> None:
    """Events, duplicates, conflicts, postings and seals are what the oracle says; only for deliveries whose order is known."""
    held, duplicates, conflicts, totals = oracle(deliveries)
    stored = rows(
        connection,
        "select source, id, customer, meter, quantity, ledger.milliseconds(event_time), reason, corrects, coalesce(dimensions, '{}'), late"
        " from ledger.event",
    )
    expected = [
        (e.source, e.id, e.customer, e.meter, e.quantity, e.event_time_ms, e.reason, e.corrects, dict(e.dimensions), late)
        for e, late in held.values()
    ]
    assert sorted(stored, key=str) == sorted(expected, key=str)
    assert one(connection, "select count(*) from ledger.duplicate") == (duplicates,)
    assert one(connection, "select count(*) from ledger.conflict") == (conflicts,)
    posted = rows(
        connection,
        "select s.customer, s.meter, ledger.milliseconds(p.segment_start), a.name, sum(p.quantity)::bigint from ledger.posting p"
        " join ledger.subject s using (subject_id) join ledger.account a on a.account_id = p.to_account where p.from_account = 1"
        " group by 1, 2, 3, 4",
    )
    assert {row[:4]: row[4] for row in posted} == totals
    assert one(connection, "select coalesce(sum(events), 0) from ledger.posting") == (len(held),)
    assert rows(connection, queries.load("capture")["broken_chain_links"].decode()) == []


def one(connection: psycopg.Connection, question: str) -> tuple[object, ...]:
    """The only row of an answer."""
    (row,) = connection.execute(question.encode()).fetchall()
    return row


def rows(connection: psycopg.Connection, question: str) -> list[tuple[object, ...]]:
    """All rows of an answer."""
    return connection.execute(question.encode()).fetchall()
