"""The capture transaction on a real Postgres: compared with a plain dict, row by row, whatever is thrown at it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.conftest import Database
from tests.makers.capture_batches import (
    NOON_MS,
    make_announced,
    make_catalogue,
    make_event,
    make_forwarded,
    make_rejected,
)
from tests.makers.capture_writer import TOPICS, Writer, batches
from tests.makers.ledger_books import assert_books_are, one, rows
from trueup.contracts import keys
from trueup.contracts.events import UsageEvent
from trueup.ledger.store import capture, queries
from trueup.ledger.store.connection import connect


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    with connect(database.writer_dsn, "test") as opened:
        yield opened


@pytest.fixture
def second_connection(database: Database) -> Iterator[psycopg.Connection]:
    with connect(database.writer_dsn, "test-2") as opened:
        yield opened


def test_one_batch_of_everything(connection: psycopg.Connection):
    """New, late, duplicate, conflict and refused events of one batch stand where they belong, with positions and seal."""
    room = Writer(connection, 3)
    on_time = [
        make_forwarded(0, make_event("a", quantity=5, dimensions={"model": 'gröẞe "x"\n', "b": "1"})),
        make_forwarded(2, make_event("a", quantity=5, dimensions={"b": "1", "model": 'gröẞe "x"\n'})),
        make_forwarded(3, make_event("a", quantity=6)),
        make_forwarded(6, make_event("n", quantity=-2, reason="refund: 'é'", corrects="a", meter="runs")),
    ]
    late = [make_forwarded(1, make_event("b", quantity=9))]
    rejected = [
        make_rejected(4, b"\x00\xff", rejected_offset=0),
        make_rejected(5, b"x" * 70_000, reason="too_large", rejected_offset=1),
        make_rejected(7, b"...", reason="bad_field", field="id", event=make_event("bad\0", quantity=2**63 - 1), rejected_offset=2),
        make_rejected(8, None, rejected_offset=3),
    ]
    captured = room.capture(make_announced(partition=3, on_time=on_time, late=late, rejected=rejected, dropped=[make_event("z")]))
    assert_books_are(connection, [(on_time[0].event, False), (late[0].event, True), *[(r.event, False) for r in on_time[1:]]])
    assert rows(connection, "select source_offset, reason, record is null, record_bytes, quantity from ledger.refusal order by 1") == [
        (4, "undecodable", False, 2, None),
        (5, "too_large", True, 70_000, None),
        (7, "bad_field", False, 3, 2**63 - 1),
        (8, "undecodable", True, 0, None),
    ]
    assert rows(connection, "select topic, partition, next_offset from ops.source_offset order by 1") == [
        ("late", 3, 1),
        ("on_time", 3, 4),
        ("progress", 3, 1),
        ("rejected", 3, 4),
    ]
    (row,) = rows(
        connection,
        "select arrived_events, accepted_events, ledger_duplicate_events, conflict_events, duplicate_events from ledger.source_batch",
    )
    assert row == (10, 3, 1, 1, 1)
    kept, seen, record = one(connection, "select kept_payload_hash, seen_payload_hash, record from ledger.conflict")
    assert (kept.bytes, seen.bytes) == (keys.payload_hash(on_time[0].event), keys.payload_hash(on_time[2].event))
    assert record == on_time[2].value
    assert captured.batch_id == one(connection, "select last_value from ledger.batch_seq")[0]


# Few identities and values, so that they meet: duplicates, conflicts, both meters, both topics, two partitions.
_deliveries = some.lists(
    some.tuples(
        some.builds(
            make_event,
            some.sampled_from("abcdefgh"),
            source=some.sampled_from(["s", "t"]),
            event_time_ms=some.sampled_from([NOON_MS - 1, NOON_MS, NOON_MS + 299_999, NOON_MS + 300_000]),
            meter=some.sampled_from(["tokens", "runs"]),
            customer=some.sampled_from(["acme", "globex", "ünïcode"]),
            quantity=some.sampled_from([0, 1, 7, 10**15 - 1]),
            dimensions=some.sampled_from([{}, {"k": "v"}]),
        ),
        some.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries=_deliveries, width=some.integers(1, 20), together=some.integers(1, 3))
def test_any_deliveries_end_as_the_oracle_says(postgres_server, _template, deliveries, width, together):
    """Whatever is delivered, in batches of any size: the ledger is what a dict of first payloads is."""
    name = "ledger_generated"
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        admin.execute(f'create database {name} template "{_template}"'.encode())
    try:
        with connect(postgres_server.dsn(name, "trueup_writer"), "test") as connection:
            room = Writer(connection, 0)
            announced = list(batches(deliveries, width))
            for start in range(0, len(announced), together):
                room.capture(*announced[start : start + together])
            assert_books_are(connection, deliveries)
    finally:
        with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)".encode())


def test_redelivery_at_the_old_offset_is_refused(connection: psycopg.Connection):
    """After a lost answer to COMMIT the same batch comes again: its positions are gone, and nothing changes."""
    room = Writer(connection, 0)
    announced = make_announced(on_time=[make_forwarded(0, make_event("a"))])
    room.capture(announced)
    room.positions = dict.fromkeys(TOPICS, 0)
    with pytest.raises(capture.Fenced):
        room.capture(announced)
    assert_books_are(connection, [(announced.on_time[0].event, False)])


def test_owner_of_an_older_epoch_is_refused(connection: psycopg.Connection, second_connection: psycopg.Connection):
    """A room that lost its partition while it slept can write nothing, even at the right offset."""
    asleep = Writer(connection, 0)
    awake = Writer(second_connection, 0)
    assert awake.claim.epoch == asleep.claim.epoch + 1
    with pytest.raises(capture.Fenced):
        asleep.capture(make_announced(on_time=[make_forwarded(0, make_event("a"))]))
    awake.capture(make_announced(on_time=[make_forwarded(0, make_event("b"))]))
    assert_books_are(connection, [(make_event("b"), False)])


def test_claim_gives_back_where_the_last_owner_left(connection: psycopg.Connection):
    """Positions come from the ledger, not from Kafka: the next owner reads on exactly behind what is committed."""
    room = Writer(connection, 0)
    assert room.claim.source_position is None
    room.capture(make_announced(on_time=[make_forwarded(0, make_event("a")), make_forwarded(4, make_event("b"))]))
    room.take()
    assert (room.claim.source_position, room.positions) == (5, {"on_time": 2, "late": 0, "rejected": 0, "progress": 1})


def test_same_events_through_two_partitions_at_once(connection: psycopg.Connection, second_connection: psycopg.Connection):
    """Two writers with the same identities at the same moment: the database decides, each event counts once."""
    events = [make_event(str(n), quantity=n) for n in range(500)]
    rooms = [Writer(connection, 0), Writer(second_connection, 1)]
    meet = threading.Barrier(2)

    def bring(room: Writer) -> capture.Captured:
        met = False

        def reached(place: capture.Place) -> None:
            nonlocal met
            if place is capture.Place.EVENTS_COPYING and not met:
                met = True
                meet.wait(10)  # both have probed and found nothing

        return room.capture(*batches([(event, False) for event in events], 500, room.partition), reached=reached)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(bring, rooms))
    assert sorted(len(captured.decision.events) for captured in done) == [0, 500]
    assert sorted(len(captured.decision.duplicates) for captured in done) == [0, 500]
    assert_books_are(connection, [(event, False) for event in events] + [(make_event(e.id, quantity=e.quantity), False) for e in events])


def _capture_all(room: Writer, deliveries: list[tuple[UsageEvent, bool]]) -> None:
    for part in batches(deliveries, 50, room.partition):
        room.capture(part)


def test_conflicts_through_two_partitions_at_once(connection: psycopg.Connection, second_connection: psycopg.Connection):
    """When payloads differ too, one wins per identity and the other is kept as a conflict with both hashes."""
    rooms = [Writer(connection, 0), Writer(second_connection, 1)]
    deliveries = [[(make_event(str(n), quantity=10 + partition), False) for n in range(300)] for partition in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_capture_all, rooms, deliveries))
    assert one(connection, "select count(*), count(distinct identity) from ledger.event") == (300, 300)
    assert one(connection, "select count(*) from ledger.conflict where kept_payload_hash <> seen_payload_hash") == (300,)
    assert (
        rows(connection, "select 1 from ledger.conflict c join ledger.event e using (identity) where c.kept_payload_hash <> e.payload_hash")
        == []
    )
    assert one(connection, "select sum(billable_quantity) from ledger.event") == one(connection, "select sum(quantity) from ledger.posting")


@pytest.mark.parametrize("place", list(capture.Place))
def test_failure_at_any_place_leaves_nothing(connection: psycopg.Connection, place: capture.Place):
    """A transaction that does not reach its commit leaves no row and no position; the same batch then goes through."""
    room = Writer(connection, 0)
    announced = make_announced(on_time=[make_forwarded(0, make_event("a"))], rejected=[make_rejected(1, b"x")])

    def fail(at: capture.Place) -> None:
        if at is place:
            raise OSError("the machine stumbled")

    with pytest.raises(OSError, match="stumbled"):
        room.capture(announced, reached=fail)
    for table in ("event", "posting", "batch", "source_batch", "refusal"):
        assert one(connection, f"select count(*) from ledger.{table}") == (0,)
    room.capture(announced)
    assert_books_are(connection, [(make_event("a"), False)])


@pytest.mark.parametrize(
    "tampering",
    [
        "update ledger.event set quantity = quantity + 1 where id = 'b'",
        "delete from ledger.event where id = 'b'",
        "update ledger.event set source = 'other' where id = 'b'",
        "update ledger.posting set quantity = quantity - 1 where quantity = 2",
        "update ledger.source_batch set arrived_quantity = 0 where first_offset = 1",
        "delete from ledger.refusal",
        "insert into ledger.duplicate select 0, 99, identity, arrival, 1, batch_id from ledger.event where id = 'b'",
        "update ledger.batch set chain_sha256 = null where batch_id = (select batch_id from ledger.event where id = 'b')",
    ],
)
def test_seal_shows_what_was_changed_behind_the_triggers(database: Database, connection: psycopg.Connection, tampering: str):
    """Who switches the triggers off can change a row, and the chain says which batch it was in."""
    room = Writer(connection, 0)
    for offset, name in enumerate("abc"):
        room.capture(
            make_announced(
                first_offset=2 * offset,
                on_time=[make_forwarded(2 * offset, make_event(name, quantity=offset + 1))],
                rejected=[make_rejected(2 * offset + 1, b"x")],
            )
        )
    broken = queries.load("capture")["broken_chain_links"].decode()
    assert rows(connection, broken) == []
    with psycopg.connect(database.dsn, autocommit=True) as superuser:
        for table in ("event", "posting", "source_batch", "refusal", "batch"):
            superuser.execute(f"alter table ledger.{table} disable trigger user".encode())
        changed = superuser.execute(tampering.replace("first_offset = 1", "first_offset = 2").encode()).rowcount
    assert changed > 0
    assert len(rows(connection, broken)) >= 1


def test_makers_know_the_catalogue():
    """The meters that these tests use are what they say."""
    assert {name: meter.aggregation.value for name, meter in make_catalogue().meters.items()} == {"tokens": "sum", "runs": "count"}
