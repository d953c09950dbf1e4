"""How a memory is rebuilt from the progress records of its partition: the chain that ends where the room stands."""

from __future__ import annotations

from collections.abc import Sequence

from services.dedupe.core.memory import Partition, forgotten_hour
from trueup.contracts.errors import Broken
from trueup.contracts.progress import ProgressRecord, append_hour


def chain_up_to(records: Sequence[ProgressRecord], next_offset: int) -> list[ProgressRecord]:
    """The records whose offsets join without a gap up to `next_offset`, oldest first.

    Reading starts inside the log, so the chain may begin anywhere; but a record that does not join the one after it is no
    part of this past.
    """
    chain: list[ProgressRecord] = []
    expected = next_offset
    for record in reversed(records):
        if record.next_offset == expected:
            chain.append(record)
            expected = record.first_offset
    chain.reverse()
    return chain


def reaches_back(chain: Sequence[ProgressRecord]) -> bool:
    """Says whether a chain begins with arrivals that its end no longer remembers, so that nothing older matters."""
    return bool(chain) and append_hour(chain[0].last_arrival_ms) <= forgotten_hour(chain[-1].last_arrival_ms)


def continues(chain: Sequence[ProgressRecord], known: Partition | None) -> bool:
    """Says whether a chain goes back to where a memory that was kept stands, so that nothing older is needed."""
    return known is not None and bool(chain) and known.next_offset in (chain[0].first_offset, *[record.next_offset for record in chain])


def standing(committed: int | None, records: Sequence[ProgressRecord]) -> int | None:
    """Where the room stands: the end of the last progress record, unless the group says that it is further on.

    Both were committed in one transaction, so a committed offset behind the last record is not the past but a coordinator that
    has lost some: Kafka 4.3.0 was seen to answer with offsets from a minute before, and with none, after its broker was killed.
    Going back to them would forward everything since once more.
    """
    if not records:
        return committed
    return max(committed or 0, records[-1].next_offset)


def rebuilt(
    number: int, committed: int | None, log_start: int, records: Sequence[ProgressRecord], known: Partition | None = None
) -> Partition:
    """The memory that belongs to where the room stands; Broken when the progress records cannot tell it.

    `records` are the readable progress records in the order of their topic, of the last 48 hours of arrivals at least or since
    where `known` stands, a memory kept from when this worker had the partition before. That one is gone on from where it can be.
    """
    stands_at = standing(committed, records)
    if not records or stands_at is None:
        # Nothing is left of what was ever said here: either it is new, or so old that nothing could be remembered.
        return Partition(number, log_start if stands_at is None else stands_at)
    chain = chain_up_to(records, stands_at)
    if not chain:
        raise Broken(
            f"source partition {number}: the group's committed offset {committed} is where no progress record ends "
            f"(the last one ends at {records[-1].next_offset}); the group's offsets were moved by hand past what was decided"
        )
    if known is not None and continues(chain, known):
        partition, chain = known, [record for record in chain if record.first_offset >= known.next_offset]
    else:
        partition = Partition(number, chain[0].first_offset)
    for record in chain:
        partition.absorb(record)
    return partition
