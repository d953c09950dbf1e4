"""Rows in the binary form that COPY takes, packed by hand where there is one per event.

psycopg's own `write_row` is as fast only for values that already are UUID and datetime objects; ours are bytes and milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct

from trueup.ledger.accounts import Account
from trueup.ledger.captured import DuplicateRow, EventRow, PostingRow

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
UUID_OID = 2950
EVENT_COLUMNS = 20

# Postgres counts microseconds from 2000-01-01.
_EPOCH_MS = 946_684_800_000
_EVENT = Struct("!h i16s i16s iq iq iq iq iq i? iq iq ii iq iq")
_POSTING = Struct("!h iq iq iq iq ih ih iq iq iq iq")
_DUPLICATE = Struct("!h ii iq i16s iq iq iq")
_LENGTH = Struct("!i")
_NO_DIMENSIONS = NULL


def timestamp(instant_ms: int) -> int:
    """An instant as timestamptz holds it."""
    return (instant_ms - _EPOCH_MS) * 1000


def event_heads(rows: Iterable[EventRow], subjects: Mapping[tuple[str, str], int], source_partition: int, batch_id: int) -> list[bytes]:
    """Everything of each event row but its last column, the dimensions: what is copied, and what is sealed."""
    pack = _EVENT.pack
    text = _TextCache()
    plain = _sized
    return [
        pack(
            EVENT_COLUMNS, 16, row.identity, 16, row.payload_hash, 8, subjects[row.customer, row.meter],
            8, row.quantity, 8, row.billable_quantity, 8, (row.event_time_ms - _EPOCH_MS) * 1000, 8, (row.arrival_ms - _EPOCH_MS) * 1000,
            1, row.late, 8, (row.segment_start_ms - _EPOCH_MS) * 1000, 8, (row.segment_end_ms - _EPOCH_MS) * 1000,
            4, source_partition, 8, row.source_offset, 8, batch_id,
        )
        + text[row.source] + plain(row.id) + text[row.customer] + text[row.meter] + text[row.reason] + plain(row.corrects)
        for row in rows
    ]  # fmt: skip


def events(heads: Sequence[bytes], rows: Sequence[EventRow]) -> bytes:
    """The COPY stream of event rows, given their heads."""
    parts = [HEADER]
    for head, row in zip(heads, rows, strict=True):
        parts.append(head)
        parts.append(_jsonb(row.dimensions))
    parts.append(TRAILER)
    return b"".join(parts)


def postings(rows: Iterable[PostingRow], subjects: Mapping[tuple[str, str], int], batch_id: int) -> bytes:
    """The COPY stream of posting rows."""
    pack = _POSTING.pack
    packed = [
        pack(
            10, 8, batch_id, 8, subjects[row.customer, row.meter], 8, timestamp(row.segment_start_ms), 8, timestamp(row.segment_end_ms),
            2, Account.USAGE, 2, row.to_account, 8, row.quantity, 8, row.events,
            8, timestamp(row.oldest_event_time_ms), 8, timestamp(row.newest_event_time_ms),
        )
        for row in rows
    ]  # fmt: skip
    return b"".join([HEADER, *packed, TRAILER])


def duplicates(rows: Iterable[DuplicateRow], source_partition: int, batch_id: int) -> bytes:
    """The COPY stream of duplicate rows."""
    packed = [
        _DUPLICATE.pack(
            6, 4, source_partition, 8, row.source_offset, 16, row.identity, 8, timestamp(row.arrival_ms), 8, row.quantity, 8, batch_id
        )
        for row in rows
    ]
    return b"".join([HEADER, *packed, TRAILER])


def uuid_array(identities: Sequence[bytes]) -> bytes:
    """A one-dimensional uuid[] in binary form."""
    head = Struct("!iiIii").pack(1, 0, UUID_OID, len(identities), 1)
    return head + b"".join([b"\0\0\0\x10" + identity for identity in identities])


def _sized(text: str | None) -> bytes:
    if text is None:
        return NULL
    encoded = text.encode()
    return _LENGTH.pack(len(encoded)) + encoded


class _TextCache(dict[str | None, bytes]):
    """Sources, customers, meters and reasons come again and again: each is packed once a batch."""

    def __missing__(self, text: str | None) -> bytes:
        packed = self[text] = _sized(text)
        return packed


def _jsonb(dimensions: Mapping[str, str]) -> bytes:
    if not dimensions:
        return _NO_DIMENSIONS
    encoded = json.dumps(dict(dimensions), ensure_ascii=False, separators=(",", ":")).encode()
    return _LENGTH.pack(len(encoded) + 1) + b"\x01" + encoded
