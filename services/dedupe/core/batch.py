"""The decision about a batch of one source partition: outputs to write and the progress record that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.dedupe.core.memory import HASH_BITS, HASH_MASK, Partition, forgotten_hour, pack
from services.dedupe.core.records import Headers, Output, Record, Route, foreign_headers
from services.dedupe.core.refusals import envelope_refusal, event_refusal
from services.dedupe.core.rejected import kept, rejected
from trueup.contracts.catalogue import Meter, Timeline
from trueup.contracts.codec import Decoder
from trueup.contracts.errors import Broken
from trueup.contracts.events import Refusal, UsageEvent
from trueup.contracts.keys import bytes_identity, id_sum_term, identity, record_hash
from trueup.contracts.periods import late_by_ms
from trueup.contracts.progress import NewIds, ProgressRecord, Tally, append_hour
from trueup.contracts.topics import HEADER_ARRIVAL, HEADER_LATE_BY, HEADER_SOURCE, HEADER_SUSPECT


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to be written for a batch, in one transaction."""

    outputs: tuple[Output, ...]
    progress: ProgressRecord


def apply(partition: Partition, records: Sequence[Record], timeline: Timeline, decoder: Decoder, topic: str) -> Decided:
    """Decides a batch and changes nothing: the partition absorbs the progress record once it is committed.

    `records` are the next ones of this partition in offset order, at least one; `topic` is named in what is refused.
    """
    offset = partition.next_offset - 1
    for record in records:
        if record.offset <= offset:
            raise Broken(f"source partition {partition.number}: offset {record.offset} came after {offset}")
        offset = record.offset
    batch = _Batch(partition, timeline, topic)
    for record, read in zip(records, decoder.decode_batch([record.value for record in records]), strict=True):
        batch.take(record, read)
    return batch.decided(len(records), offset + 1)


def pass_over(partition: Partition, end: int, now_ms: int, timeline: Timeline, topic: str) -> Decided:
    """Says that up to `end` there is nothing but control records: a progress record over no records.

    Where nothing was ever seen arriving it is dated `now_ms`: there is nothing that could be forgotten by that.
    """
    batch = _Batch(partition, timeline, topic)
    batch.take_nothing(now_ms)
    return batch.decided(0, end)


class _Sums:
    """A tally while it grows."""

    __slots__ = ("events", "id_sum", "quantity")

    def __init__(self) -> None:
        self.events = 0
        self.quantity = 0
        self.id_sum = 0

    def add(self, quantity: int, term: int) -> None:
        self.events += 1
        self.quantity += quantity
        self.id_sum += term

    def tally(self) -> Tally:
        return Tally(self.events, self.quantity, self.id_sum)


class _Batch:
    """One pass over a batch. Its own ids are looked up beside the partition's, which stays as it was."""

    def __init__(self, partition: Partition, timeline: Timeline, topic: str) -> None:
        self._partition = partition
        self._timeline = timeline
        self._topic = topic
        self._source = f"{partition.number}:".encode()
        self._outputs: list[Output] = []
        self._fresh: dict[bytes, int] = {}
        self._new_ids: dict[int, list[bytes]] = {}
        self._suspects = 0
        self._arrived = _Sums()
        self._on_time, self._late, self._duplicate, self._refused = _Sums(), _Sums(), _Sums(), _Sums()
        self._newest_ms = partition.newest_arrival_ms
        self._arrival_ms = -1
        self._arrival_header = (HEADER_ARRIVAL, b"")
        self._hour = 0
        self._forgotten_hour = 0
        self._version = 0
        self._meters: Mapping[str, Meter] = {}

    def take(self, record: Record, read: UsageEvent | Refusal) -> None:
        """Decides one record."""
        if record.arrival_ms != self._arrival_ms:
            # All records of one produce request share an append time, so this happens far less often than once an event.
            self._move_to(record.arrival_ms)
        if isinstance(read, Refusal):
            # Of what is kept, not of what came: capture adds up the same from the rejected topic.
            term = self._count(bytes_identity(kept(record.value)), 0)
            self._refuse(record, read, 0, term)
            return
        key = identity(read.source, read.id)
        term = self._count(key, read.quantity)
        refusal = envelope_refusal(record) or event_refusal(read, record.arrival_ms, self._meters)
        if refusal is not None:
            self._refuse(record, refusal, read.quantity, term)
            return
        self._take_fit(record, read, key, term)

    def take_nothing(self, now_ms: int) -> None:
        """Decides no record, by the catalogue of the last one."""
        newest_ms = self._partition.newest_arrival_ms
        self._move_to(now_ms if newest_ms is None else newest_ms)

    def _count(self, key: bytes, quantity: int) -> int:
        """Counts a record before anything is decided about it, so that whatever loses one afterwards is found out; gives its id's term."""
        term = id_sum_term(key)
        self._arrived.add(quantity, term)
        return term

    def _move_to(self, arrival_ms: int) -> None:
        self._arrival_ms = arrival_ms
        self._arrival_header = (HEADER_ARRIVAL, b"%d" % arrival_ms)
        self._hour = append_hour(arrival_ms)
        self._newest_ms = arrival_ms if self._newest_ms is None else max(self._newest_ms, arrival_ms)
        self._forgotten_hour = forgotten_hour(self._newest_ms)
        self._version, catalogue = self._timeline.in_force_at(arrival_ms)
        self._meters = catalogue.meters

    def _refuse(self, record: Record, refusal: Refusal, quantity: int, term: int) -> None:
        # Nothing is remembered: once its cause is mended, the same event sent again must not look like a duplicate.
        self._refused.add(quantity, term)
        self._outputs.append(rejected(record, refusal, self._topic, self._partition.number))

    def _take_fit(self, record: Record, event: UsageEvent, key: bytes, term: int) -> None:
        hashed = record_hash(record.value or b"")
        remembered = self._recall(key)
        if remembered is None:
            self._remember(key, hashed)
        elif remembered == hashed:
            self._duplicate.add(event.quantity, term)
            return
        else:
            self._suspects += 1
        self._forward(record, event, term, remembered)

    def _recall(self, key: bytes) -> bytes | None:
        held = self._fresh.get(key) or self._partition.known.get(key)
        if held is None or held >> HASH_BITS <= self._forgotten_hour:
            return None
        return (held & HASH_MASK).to_bytes(HASH_BITS // 8, "big")

    def _remember(self, key: bytes, hashed: bytes) -> None:
        if self._hour <= self._forgotten_hour:
            # Append time ran back by more than the memory is long: what arrives there is forgotten as it comes.
            return
        self._fresh[key] = self._hour << HASH_BITS | int.from_bytes(hashed, "big")
        self._new_ids.setdefault(self._hour, []).append(pack(key, hashed))

    def _forward(self, record: Record, event: UsageEvent, term: int, suspected: bytes | None) -> None:
        headers: Headers = (self._arrival_header, (HEADER_SOURCE, b"%s%d" % (self._source, record.offset)))
        if record.headers:
            headers = foreign_headers(record.headers) + headers
        late_ms = late_by_ms(event.event_time_ms, record.arrival_ms, self._meters[event.meter])
        if late_ms:
            headers += ((HEADER_LATE_BY, b"%d" % late_ms),)
        if suspected is not None:
            headers += ((HEADER_SUSPECT, suspected.hex().encode()),)
        (self._late if late_ms else self._on_time).add(event.quantity, term)
        self._outputs.append(Output(Route.LATE if late_ms else Route.ON_TIME, record.key, record.value, headers))

    def decided(self, records: int, next_offset: int) -> Decided:
        """Closes the batch. Broken if what was decided is not all that came: such a batch must not be written."""
        if self._newest_ms is None:
            raise Broken(f"source partition {self._partition.number}: an empty batch was to be decided")
        tallies = [sums.tally() for sums in (self._on_time, self._late, self._duplicate, self._refused)]
        arrived = self._arrived.tally()
        if arrived.events != records or arrived != _total(tallies):
            what = f"of {records} records {arrived} arrived, {_total(tallies)} were decided"
            raise Broken(f"source partition {self._partition.number}, up to offset {next_offset}: {what}")
        progress = ProgressRecord(
            source_partition=self._partition.number,
            first_offset=self._partition.next_offset,
            next_offset=next_offset,
            catalogue_version=self._version,
            # The newest arrival ever seen here, not just in this batch: from it a restored memory knows what to forget.
            last_arrival_ms=self._newest_ms,
            arrived=arrived,
            on_time=tallies[0],
            late=tallies[1],
            duplicate=tallies[2],
            refused=tallies[3],
            suspect_events=self._suspects,
            new_ids=tuple([NewIds(hour, b"".join(packed)) for hour, packed in sorted(self._new_ids.items())]),
        )
        return Decided(tuple(self._outputs), progress)


def _total(tallies: Iterable[Tally]) -> Tally:
    total = Tally(0, 0, 0)
    for tally in tallies:
        total = total + tally
    return total
