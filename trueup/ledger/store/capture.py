"""The capture transaction: positions, identities, events, postings and the batch's seal are committed together or not at all.

What makes it exact: the unique identity, and positions that move only from where their owner left them, under its own epoch.
Running the same batch again after any failure, a lost answer to COMMIT included, is therefore always safe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.errors import UniqueViolation
from psycopg.pq import Format

from trueup.contracts.errors import Broken, PipelineError, Transient
from trueup.contracts.progress import Tally
from trueup.ledger.captured import ConflictRow, Decision, DivertedRow, RefusalRow, SourceBatchRow
from trueup.ledger.store import barrier, binary_copy, queries, seal
from trueup.ledger.store.instants import instant

_MOST_DECISIONS = 20
_UUID_ARRAY_OID = 2951

Subjects = Mapping[tuple[str, str], int]
Decide = Callable[[Mapping[bytes, bytes]], Decision]


class Fenced(PipelineError):
    """Another owner has taken the partition: what this one still holds of it is void, and nothing of it was written."""


class Place(Enum):
    """Where a capture transaction stands; tests stop the world there."""

    OFFSETS_MOVED = "offsets moved"
    EVENTS_COPYING = "in mid-copy of the events"
    EVENTS_COPIED = "events copied"
    BEFORE_COMMIT = "before commit"


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition taken over: the epoch to write under, where to read on, and from where to where the source is captured."""

    partition: int
    epoch: int
    positions: Mapping[str, int]
    source_begin: int | None
    source_position: int | None


@dataclass(frozen=True, slots=True)
class Advance:
    """From where to where each topic's position moves with a batch."""

    topic: str
    expected: int
    next: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be captured of one partition in one transaction."""

    partition: int
    epoch: int
    advances: tuple[Advance, ...]
    identities: Sequence[bytes]
    decide: Decide


@dataclass(frozen=True, slots=True)
class Captured:
    """What one transaction wrote."""

    batch_id: int
    recorded_at_ms: int
    decision: Decision


def positions(connection: psycopg.Connection, topic: str) -> dict[int, int]:
    """Where the ledger stands on a topic, by partition; nothing for those never claimed."""
    return dict(connection.execute(queries.load("capture")["positions"], {"topic": topic}).fetchall())


def claim(connection: psycopg.Connection, holder: str, partition: int, beginnings: Mapping[str, int]) -> Claim:
    """Take a partition over. `beginnings` says where its topics begin, for a ledger that has read nothing of them yet."""
    statements = queries.load("capture")
    given = {"partition": partition, "holder": holder, "topics": list(beginnings), "beginnings": list(beginnings.values())}
    with connection.transaction():
        rows = connection.execute(statements["claim"], given).fetchall()
        captured = connection.execute(statements["captured_source"], {"partition": partition}).fetchone()
    epochs = {epoch for _topic, epoch, _next in rows}
    if len(epochs) != 1 or len(rows) != len(beginnings):
        raise Broken(f"partition {partition}: its topics' positions stand under several epochs: {sorted(epochs)}")
    begin, position = captured or (None, None)
    return Claim(partition, epochs.pop(), {topic: offset for topic, _epoch, offset in rows}, begin, position)


def number_subjects(connection: psycopg.Connection, subjects: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Give every (customer, meter) its number. Committed at once, so that a number once seen can be remembered."""
    if not subjects:
        return {}
    given = {"customers": [customer for customer, _ in subjects], "meters": [meter for _, meter in subjects]}
    statements = queries.load("capture")
    with connection.transaction():
        connection.execute(statements["add_subjects"], given)
    rows = connection.execute(statements["find_subjects"], given).fetchall()
    return {(customer, meter): number for customer, meter, number in rows}


def capture(
    connection: psycopg.Connection,
    writer: str,
    batch: Batch,
    subjects: Subjects,
    reached: Callable[[Place], None] = lambda place: None,
) -> Captured:
    """Write one batch in one transaction; Fenced when the partition is another's or stands elsewhere by now."""
    statements = queries.load("capture")
    with connection.transaction():
        barrier.share(connection)
        _advance(connection, batch)
        opened = connection.execute(statements["open_batch"], {"partition": batch.partition}).fetchone()
        if opened is None:
            raise Broken("the ledger opened no batch")
        batch_id, recorded_at_ms, previous = opened
        reached(Place.OFFSETS_MOVED)
        decision, heads = _write_events(connection, batch, batch_id, subjects, reached)
        reached(Place.EVENTS_COPIED)
        postings = binary_copy.posting_rows(decision.postings, subjects, batch_id)
        _write_rest(connection, batch, batch_id, decision, postings)
        _copy_rows(connection, "copy_diverted", _DIVERTED_TYPES, [_diverted(row, subjects, batch_id) for row in decision.diverted])
        chain = seal.chain_link(previous, batch_id, batch.partition, heads, postings, decision)
        connection.execute(statements["add_batch"], {"batch_id": batch_id, "writer": writer, "chain_sha256": chain})
        reached(Place.BEFORE_COMMIT)
    return Captured(batch_id, recorded_at_ms, decision)


def kept(connection: psycopg.Connection, identities: Sequence[bytes]) -> dict[bytes, bytes]:
    """Which of these identities the ledger holds, with their payload hashes."""
    if not identities:
        return {}
    with connection.cursor(binary=True) as cursor:
        cursor.adapters.register_dumper(_Identities, _IdentitiesDumper)
        cursor.adapters.register_loader("uuid", _RawUuid)
        cursor.execute(queries.load("capture")["kept"], {"identities": _Identities(binary_copy.uuid_array(identities))})
        return dict(cursor.fetchall())


def begin(connection: psycopg.Connection, partition: int, epoch: int, advances: Sequence[Advance], source_offset: int | None) -> None:
    """Let a ledger that holds nothing of a partition begin further on, at this offset of the source topic as far as that is known."""
    with connection.transaction():
        _move(connection, "begin", partition, epoch, advances, source_offset=source_offset)


def _advance(connection: psycopg.Connection, batch: Batch) -> None:
    _move(connection, "advance", batch.partition, batch.epoch, batch.advances)


def _move(
    connection: psycopg.Connection, query: str, partition: int, epoch: int, advances: Sequence[Advance], **others: int | None
) -> None:
    given = {
        "topics": [advance.topic for advance in advances],
        "expected": [advance.expected for advance in advances],
        "next": [advance.next for advance in advances],
        "partition": partition,
        "epoch": epoch,
        **others,
    }
    if connection.execute(queries.load("capture")[query], given).rowcount != len(advances):
        raise Fenced(f"partition {partition}: epoch {epoch} may not move its positions any more")


def _write_events(
    connection: psycopg.Connection, batch: Batch, batch_id: int, subjects: Subjects, reached: Callable[[Place], None]
) -> tuple[Decision, list[bytes]]:
    """Decide and copy; when another writer was first with one of the identities, look again and decide anew."""
    for _attempt in range(_MOST_DECISIONS):
        decision = batch.decide(kept(connection, batch.identities))
        heads = binary_copy.event_heads(decision.events, subjects, batch.partition, batch_id)
        try:
            with connection.transaction():
                _copy(connection, "copy_event", binary_copy.events(heads, decision.events), lambda: reached(Place.EVENTS_COPYING))
        except UniqueViolation:
            continue
        return decision, heads
    raise Transient(f"partition {batch.partition}: other writers were first {_MOST_DECISIONS} times in a row")


def _write_rest(connection: psycopg.Connection, batch: Batch, batch_id: int, decision: Decision, postings: Sequence[bytes]) -> None:
    partition = batch.partition
    if postings:
        _copy(connection, "copy_posting", binary_copy.stream(postings))
    if decision.duplicates:
        _copy(connection, "copy_duplicate", binary_copy.duplicates(decision.duplicates, partition, batch_id))
    _copy_rows(connection, "copy_conflict", _CONFLICT_TYPES, [_conflict(row, partition, batch_id) for row in decision.conflicts])
    _copy_rows(connection, "copy_refusal", _REFUSAL_TYPES, [_refusal(row, partition, batch_id) for row in decision.refusals])
    _copy_rows(
        connection, "copy_source_batch", _SOURCE_BATCH_TYPES, [_source_batch(row, partition, batch_id) for row in decision.source_batches]
    )


def _copy(connection: psycopg.Connection, statement: str, stream: bytes, midway: Callable[[], None] | None = None) -> None:
    with connection.cursor() as cursor, cursor.copy(queries.load("capture")[statement]) as copy:
        if midway is None:
            copy.write(stream)
            return
        half = len(stream) // 2
        copy.write(stream[:half])
        midway()
        copy.write(stream[half:])


def _copy_rows(connection: psycopg.Connection, statement: str, types: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """For rows that are few: psycopg packs them."""
    if not rows:
        return
    with connection.cursor() as cursor, cursor.copy(queries.load("capture")[statement]) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


_DIVERTED_TYPES = ("uuid", "int8", "int8", "int2", "text")
_CONFLICT_TYPES = ("int4", "int8", "uuid", *("text",) * 4, "int8", "timestamptz", "timestamptz", "uuid", "uuid", "bytea", "int8")
_REFUSAL_TYPES = (
    *("int4", "int8", "timestamptz", "text", "text", "text", "uuid", "text", "text", "text", "text", "numeric"),
    *("bytea", "int4", "text", "int8", "int8"),
)
_TALLY_TYPES = ("int8", "numeric", "numeric")
_SOURCE_BATCH_TYPES = ("int4", "int8", "int8", "int8", "int8", "int4", "timestamptz", *_TALLY_TYPES * 5, "int8", *_TALLY_TYPES * 6)


def _diverted(row: DivertedRow, subjects: Subjects, batch_id: int) -> tuple[Any, ...]:
    return UUID(bytes=row.identity), subjects[row.customer, row.meter], batch_id, int(row.to_account), str(row.why)


def _conflict(row: ConflictRow, partition: int, batch_id: int) -> tuple[Any, ...]:
    return (
        *(partition, row.source_offset, UUID(bytes=row.identity), row.source, row.id, row.customer, row.meter, row.quantity),
        *(instant(row.event_time_ms), instant(row.arrival_ms), UUID(bytes=row.kept_payload_hash), UUID(bytes=row.seen_payload_hash)),
        *(row.record, batch_id),
    )


def _refusal(row: RefusalRow, partition: int, batch_id: int) -> tuple[Any, ...]:
    identity = None if row.identity is None else UUID(bytes=row.identity)
    quantity = None if row.quantity is None else Decimal(row.quantity)
    return (
        *(partition, row.source_offset, instant(row.arrival_ms), row.reason, row.field, row.detail, identity, row.source, row.id),
        *(row.customer, row.meter, quantity, row.record, row.record_bytes, row.record_sha256, row.rejected_offset, batch_id),
    )


def _source_batch(row: SourceBatchRow, partition: int, batch_id: int) -> tuple[Any, ...]:
    said = [number for tally in (row.arrived, row.on_time, row.late, row.duplicate, row.refused) for number in _numbers(tally)]
    received = (row.received_on_time, row.received_late, row.received_refused)
    done = [number for tally in (*received, row.accepted, row.ledger_duplicate, row.conflict) for number in _numbers(tally)]
    return (
        *(partition, row.first_offset, row.next_offset, batch_id, row.progress_offset, row.catalogue_version),
        *(instant(row.last_arrival_ms), *said, row.suspect_events, *done),
    )


def _numbers(tally: Tally) -> tuple[int, Decimal, Decimal]:
    return tally.events, Decimal(tally.quantity), Decimal(tally.id_sum)


class _Identities:
    """An uuid[] that is packed already."""

    def __init__(self, packed: bytes) -> None:
        self.packed = packed


class _IdentitiesDumper(Dumper):
    format = Format.BINARY
    oid = _UUID_ARRAY_OID

    def dump(self, obj: _Identities) -> Buffer | None:
        return obj.packed


class _RawUuid(Loader):
    """Gives a uuid's 16 bytes: ten thousand UUID objects a batch would cost as much as the query."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)
