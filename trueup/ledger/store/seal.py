"""The hash chain over capture batches: each batch's hash takes in all its rows and the hash before it.

`ledger.chain_link` computes the same in the database from the rows that stand there; `prove` compares the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from trueup.contracts.progress import Tally
from trueup.ledger.accounts import Account
from trueup.ledger.captured import Decision, PostingRow, SourceBatchRow


def chain_link(
    previous: bytes | None,
    batch_id: int,
    source_partition: int,
    event_heads: Iterable[bytes],
    decision: Decision,
    subjects: Mapping[tuple[str, str], int],
) -> bytes:
    """Seal one batch. `event_heads` are the packed event rows in the order of their identities."""
    content = hashlib.sha256(b"".join(event_heads))
    content.update("\n".join(_lines(decision, subjects)).encode())
    link = hashlib.sha256(previous or b"")
    link.update(batch_id.to_bytes(8, "big") + source_partition.to_bytes(4, "big") + content.digest())
    return link.digest()


def _lines(decision: Decision, subjects: Mapping[tuple[str, str], int]) -> Iterator[str]:
    for duplicate in decision.duplicates:
        yield f"duplicate,{duplicate.source_offset},{UUID(bytes=duplicate.identity)},{duplicate.arrival_ms},{duplicate.quantity}"
    for conflict in decision.conflicts:
        kept, seen = UUID(bytes=conflict.kept_payload_hash), UUID(bytes=conflict.seen_payload_hash)
        record = hashlib.sha256(conflict.record).hexdigest()
        yield f"conflict,{conflict.source_offset},{UUID(bytes=conflict.identity)},{kept},{seen},{record}"
    for refusal in decision.refusals:
        yield f"refusal,{refusal.source_offset},{refusal.arrival_ms},{refusal.reason},{refusal.record_sha256},{refusal.rejected_offset}"
    yield from _posting_lines(decision.postings, subjects)
    for source in decision.source_batches:
        yield _source_line(source)


def _posting_lines(postings: Sequence[PostingRow], subjects: Mapping[tuple[str, str], int]) -> list[str]:
    """Sorted as the database sorts them: by subject, then by the line's own bytes."""
    numbered = [(subjects[row.customer, row.meter], row) for row in postings]
    lines = [
        (
            subject,
            f"posting,{subject},{row.segment_start_ms},{row.segment_end_ms},{Account.USAGE:d},{row.to_account:d},"
            f"{row.quantity},{row.events},{row.oldest_event_time_ms},{row.newest_event_time_ms}",
        )
        for subject, row in numbered
    ]
    return [line for _subject, line in sorted(lines)]


def _source_line(row: SourceBatchRow) -> str:
    def tallies(*some: Tally) -> list[int]:
        return [number for tally in some for number in (tally.events, tally.quantity, tally.id_sum)]

    numbers = [
        row.first_offset,
        row.next_offset,
        row.progress_offset,
        row.catalogue_version,
        row.last_arrival_ms,
        *tallies(row.arrived, row.on_time, row.late, row.duplicate, row.refused),
        row.suspect_events,
        *tallies(row.received_on_time, row.received_late, row.received_refused, row.accepted, row.ledger_duplicate, row.conflict),
    ]
    return ",".join(["source", *map(str, numbers)])
