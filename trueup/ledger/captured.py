"""What one capture transaction writes, as plain rows. Pure: the stripe_sink room's core makes them, the store writes them.

Rows that exist once per event are named tuples: a frozen dataclass of this width costs three times as much to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from trueup.contracts.progress import Tally
from trueup.ledger.accounts import Account


class EventRow(NamedTuple):
    """One event as the ledger keeps it; its subject is known by name until the store numbers it."""

    identity: bytes
    payload_hash: bytes
    customer: str
    meter: str
    source: str
    id: str
    quantity: int
    billable_quantity: int
    event_time_ms: int
    arrival_ms: int
    late: bool
    reason: str | None
    corrects: str | None
    dimensions: Mapping[str, str]
    segment_start_ms: int
    segment_end_ms: int
    source_offset: int


class DuplicateRow(NamedTuple):
    """A second delivery with equal values."""

    source_offset: int
    identity: bytes
    arrival_ms: int
    quantity: int


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """A second delivery with other values; its bytes are kept, because it may turn out to be the right one."""

    source_offset: int
    identity: bytes
    source: str
    id: str
    customer: str
    meter: str
    quantity: int
    event_time_ms: int
    arrival_ms: int
    kept_payload_hash: bytes
    seen_payload_hash: bytes
    record: bytes


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """A refused record: why, what could be read of it, and its bytes unless they are too many."""

    source_offset: int
    arrival_ms: int
    reason: str
    field: str | None
    detail: str
    identity: bytes | None
    source: str | None
    id: str | None
    customer: str | None
    meter: str | None
    quantity: int | None
    record: bytes | None
    record_bytes: int
    record_sha256: str
    rejected_offset: int


class DivertedRow(NamedTuple):
    """An event whose quantity goes elsewhere than on-time and late usage go by themselves."""

    identity: bytes
    customer: str
    meter: str
    to_account: Account
    why: str


class PostingRow(NamedTuple):
    """What one batch adds to one segment: a quantity leaves `usage` for another account."""

    customer: str
    meter: str
    segment_start_ms: int
    segment_end_ms: int
    to_account: Account
    quantity: int
    events: int
    oldest_event_time_ms: int
    newest_event_time_ms: int


@dataclass(frozen=True, slots=True)
class SourceBatchRow:
    """One progress record of the dedupe room beside what capture received and did with it."""

    first_offset: int
    next_offset: int
    progress_offset: int
    catalogue_version: int
    last_arrival_ms: int
    arrived: Tally
    on_time: Tally
    late: Tally
    duplicate: Tally
    refused: Tally
    suspect_events: int
    received_on_time: Tally
    received_late: Tally
    received_refused: Tally
    accepted: Tally
    ledger_duplicate: Tally
    conflict: Tally


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything one batch writes, given which identities the ledger already holds."""

    events: tuple[EventRow, ...]
    duplicates: tuple[DuplicateRow, ...]
    conflicts: tuple[ConflictRow, ...]
    refusals: tuple[RefusalRow, ...]
    postings: tuple[PostingRow, ...]
    source_batches: tuple[SourceBatchRow, ...]
    diverted: tuple[DivertedRow, ...] = ()
