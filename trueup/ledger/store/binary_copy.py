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
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def timestamp(instant_ms: int) -> int:
    """An instant as timestamptz holds it."""
    return (instant_ms - _EPOCH_MS) * 1000


def event_heads(rows: Iterable[EventRow], subjects: Mapping[tuple[str, str], int], source_partition: int, batch_id: int) -> list[bytes]:
    """Everything of each event row but its last column, the dimensions: what is copied, and what is sealed."""
    pack = _EVENT.pack
    text = _TextCache()
    sized = _sized
    zero = _EPOCH_MS
    # Unpacked in one go: seventeen look-ups of attributes a row would cost as much as the packing.
    return [
        pack(
            EVENT_COLUMNS, 16, identity, 16, payload_hash, 8, subjects[customer, meter], 8, quantity, 8, billable,
            8, (event_time_ms - zero) * 1000, 8, (arrival_ms - zero) * 1000, 1, late,
            8, (start_ms - zero) * 1000, 8, (end_ms - zero) * 1000, 4, source_partition, 8, source_offset, 8, batch_id,
        )
        + text[source] + sized(id) + text[customer] + text[meter] + text[reason] + sized(corrects)
        for (
            identity, payload_hash, customer, meter, source, id, quantity, billable, event_time_ms, arrival_ms, late, reason, corrects,
            _dimensions, start_ms, end_ms, source_offset,
        ) in rows
    ]  # fmt: skip


def events(heads: Sequence[bytes], rows: Sequence[EventRow]) -> bytes:
    """The COPY stream of event rows, given their heads."""
    parts = [HEADER]
    packed: dict[tuple[tuple[str, str], ...], bytes] = {}
    for head, row in zip(heads, rows, strict=True):
        parts.append(head)
        # The same few labels come again and again.
        items = tuple(row.dimensions.items())
        dimensions = packed.get(items)
        if dimensions is None:
            dimensions = packed[items] = _jsonb(row.dimensions)
        parts.append(dimensions)
    parts.append(TRAILER)
    return b"".join(parts)


def posting_rows(rows: Iterable[PostingRow], subjects: Mapping[tuple[str, str], int], batch_id: int) -> list[bytes]:
    """Packed posting rows, sorted by their bytes: what is copied, and what is sealed."""
    pack = _POSTING.pack
    zero = _EPOCH_MS
    return sorted([
        pack(
            10, 8, batch_id, 8, subjects[customer, meter], 8, (start_ms - zero) * 1000, 8, (end_ms - zero) * 1000,
            2, Account.USAGE, 2, to_account, 8, quantity, 8, count, 8, (oldest_ms - zero) * 1000, 8, (newest_ms - zero) * 1000,
        )
        for customer, meter, start_ms, end_ms, to_account, quantity, count, oldest_ms, newest_ms in rows
    ])  # fmt: skip


def stream(rows: Sequence[bytes]) -> bytes:
    """A COPY stream of packed rows."""
    return b"".join([HEADER, *rows, TRAILER])


def duplicates(rows: Iterable[DuplicateRow], source_partition: int, batch_id: int) -> bytes:
    """The COPY stream of duplicate rows."""
    pack = _DUPLICATE.pack
    return stream(
        [
            pack(6, 4, source_partition, 8, row.source_offset, 16, row.identity, 8, timestamp(row.arrival_ms), 8, row.quantity, 8, batch_id)
            for row in rows
        ]
    )


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
    encoded = _ENCODE(dict(dimensions)).encode()
    return _LENGTH.pack(len(encoded) + 1) + b"\x01" + encoded
