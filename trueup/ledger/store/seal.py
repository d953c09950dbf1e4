"""The hash chain over capture batches: each batch's hash takes in all its rows and the hash before it.

`ledger.capture_seals` computes the same in the database from the rows that stand there; `prove` compares the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from uuid import UUID

from trueup.contracts.progress import Tally
from trueup.ledger.captured import Decision, SourceBatchRow


def chain_link(
    previous: bytes | None,
    batch_id: int,
    source_partition: int,
    event_heads: Iterable[bytes],
    posting_rows: Iterable[bytes],
    decision: Decision,
) -> bytes:
    """Seal one batch: its packed event rows in the order of their identities, its packed posting rows in their own, all else as lines."""
    content = hashlib.sha256(b"".join(event_heads))
    content.update(b"".join(posting_rows))
    content.update("\n".join(_lines(decision)).encode())
    link = hashlib.sha256(previous or b"")
    link.update(batch_id.to_bytes(8, "big") + source_partition.to_bytes(4, "big") + content.digest())
    return link.digest()


def _lines(decision: Decision) -> Iterator[str]:
    for duplicate in decision.duplicates:
        yield f"duplicate,{duplicate.source_offset},{UUID(bytes=duplicate.identity)},{duplicate.arrival_ms},{duplicate.quantity}"
    for conflict in decision.conflicts:
        kept, seen = UUID(bytes=conflict.kept_payload_hash), UUID(bytes=conflict.seen_payload_hash)
        record = hashlib.sha256(conflict.record).hexdigest()
        yield f"conflict,{conflict.source_offset},{UUID(bytes=conflict.identity)},{kept},{seen},{record}"
    for refusal in decision.refusals:
        yield f"refusal,{refusal.source_offset},{refusal.arrival_ms},{refusal.reason},{refusal.record_sha256},{refusal.rejected_offset}"
    for source in decision.source_batches:
        yield _source_line(source)


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
