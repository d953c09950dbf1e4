"""One partition's four topics on their way into the ledger: records wait here until a progress record and all it announces are there.

Pure but not frozen: it is one owner's working state of one partition, made anew with every claim.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice, takewhile
from typing import NamedTuple

from services.stripe_sink.core.capture import Announced, Forwarded, Rejected, check_chain
from trueup.contracts.errors import Broken
from trueup.contracts.events import Refusal, RefusalReason, UsageEvent
from trueup.contracts.progress import ProgressRecord
from trueup.contracts.topics import (
    HEADER_ARRIVAL,
    HEADER_ERROR_MESSAGE,
    HEADER_FIELD,
    HEADER_REASON,
    HEADER_SOURCE,
    HEADER_SUSPECT,
    HEADER_TRUNCATED,
)

Headers = Mapping[str, bytes | None]
DecodeBatch = Callable[[Sequence[bytes | None]], Sequence[UsageEvent | Refusal]]


class Kind(StrEnum):
    """The topics that capture reads, by what they hold."""

    ON_TIME = "on_time"
    LATE = "late"
    REJECTED = "rejected"
    PROGRESS = "progress"


class Raw(NamedTuple):
    """A record as it was read, undecoded."""

    offset: int
    value: bytes | None
    headers: Headers


def reading_from(position: int, beginning: int) -> int:
    """Where a partition is read on that is captured up to `position`, given where it begins by now.

    Behind the last record stands the marker of its transaction. Retention takes it away too, once the partition has been quiet for long
    enough: then nothing is missing. Where more is gone, records may be: to be read from a position that is no longer there halts the room.
    """
    return beginning if beginning == position + 1 else position


@dataclass(frozen=True, slots=True)
class Step:
    """Whole progress records with all they announce, and where each topic stands after them."""

    announced: tuple[Announced, ...]
    expected: Mapping[Kind, int]
    next: Mapping[Kind, int]

    @property
    def events(self) -> int:
        """How many records of the source topic this accounts for."""
        return sum(one.progress.arrived.events for one in self.announced)


class _Waiting(NamedTuple):
    """A decoded progress record and where it stood."""

    offset: int
    record: ProgressRecord

    def announces(self, kind: Kind) -> int:
        """How many records of a topic belong to it."""
        if kind is Kind.ON_TIME:
            return self.record.on_time.events
        return self.record.late.events if kind is Kind.LATE else self.record.refused.events


UNREAD = frozenset({RefusalReason.UNDECODABLE, RefusalReason.UNKNOWN_SCHEMA})
_CARRIERS = (Kind.ON_TIME, Kind.LATE, Kind.REJECTED)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a new ledger begins on old topics.

    Retention takes whole segments away, which end elsewhere in each topic: the first progress records that are kept may announce what is
    gone. A ledger begins behind the last of those, for what is announced and not there can never be accounted for.
    """

    positions: Mapping[Kind, int]
    source_offset: int | None  # in the source topic; None where no progress record is kept, which would say


class Inflow:
    """What has been read of one partition and not been captured yet."""

    def __init__(
        self,
        partition: int,
        positions: Mapping[Kind, int],
        source_begin: int | None,
        source_position: int | None,
        epoch: int = 0,
        *,
        looked: bool = False,
    ) -> None:
        """Begin where the ledger stands: it holds this partition's source from `source_begin` up to `source_position`.

        A ledger that holds nothing of topics that have no beginning any more has to look where it can begin, unless it has `looked`.
        """
        self.partition = partition
        self.epoch = epoch
        self._positions = dict(positions)
        self._read_to = dict(positions)
        self._source_begin = source_begin
        self._source_position = source_position
        self._new = source_position is None
        self._looking = self._new and not looked and any(positions.values())
        # Carriers that retention has been at, of which the progress record in hand may announce something that is gone.
        self._doubtful = {kind for kind in _CARRIERS if self._looking and positions[kind] > 0}
        self._begins_at: tuple[int, int] | None = None  # offsets in the source topic and in the progress topic
        self._passed_over = dict(positions)
        self._begun: set[Kind] = set()
        self._carried: dict[Kind, deque[Raw]] = {kind: deque() for kind in _CARRIERS}
        self._progress: deque[_Waiting] = deque()
        # Only those of usage that was captured here: a ledger that lost one of them stands behind this partition's positions too.
        self.subjects: dict[tuple[str, str], int] = {}

    def again(self) -> Inflow:
        """The same partition with nothing read yet, where the ledger stands now."""
        if self._new:
            # What was read so far told where it begins, and is in no ledger.
            return Inflow(self.partition, self._positions, None, None, self.epoch, looked=not self._looking)
        return Inflow(self.partition, self._positions, self._source_begin, self._source_position, self.epoch)

    @property
    def positions(self) -> Mapping[Kind, int]:
        """Where the ledger stands on each topic."""
        return self._positions

    @property
    def empty(self) -> bool:
        """Whether nothing that was read waits."""
        return not self._progress and not any(self._carried.values())

    def waiting(self, kind: Kind) -> int:
        """How many records of a topic wait."""
        return len(self._progress) if kind is Kind.PROGRESS else len(self._carried[kind])

    def wanted(self, kind: Kind) -> int:
        """How many records of a topic the next progress record announces: so many must fit, whatever the limits say."""
        return self._progress[0].announces(kind) if self._progress and kind is not Kind.PROGRESS else 0

    def oldest_arrival_ms(self, kind: Kind) -> int | None:
        """Arrival of the first record of a topic that waits."""
        if kind is Kind.PROGRESS or not self._carried[kind]:
            return None
        return _arrival_ms(self._carried[kind][0])

    def add(self, kind: Kind, raw: Raw) -> None:
        """Take a record of the on-time, late or rejected topic, in the order of its offsets."""
        self._follow(kind, raw.offset)
        self._carried[kind].append(raw)
        self._pass_over_what_came_before(kind)

    def add_progress(self, offset: int, record: ProgressRecord) -> None:
        """Take a progress record; it must begin where the one before ended."""
        self._follow(Kind.PROGRESS, offset)
        if record.source_partition != self.partition:
            raise Broken(f"partition {self.partition}: a progress record of source partition {record.source_partition} stands here")
        check_chain(self._progress[-1].record.next_offset if self._progress else self._source_position, record)
        self._progress.append(_Waiting(offset, record))
        if self._looking:
            self._begins_at = self._begins_at or (record.first_offset, offset)
        elif self._source_begin is None:
            self._source_begin = record.first_offset
            for kind in _CARRIERS:
                self._pass_over_what_came_before(kind)

    @property
    def looks_for_its_beginning(self) -> bool:
        """Whether it is still to be found out where this ledger can begin; nothing can be captured before it is read from there."""
        return self._looking

    def look(self, read_to_their_ends: Collection[Kind]) -> Beginning | None:
        """Go through what was read; gives where to begin once it is known.

        Of a topic that was read to its end nothing more will come of what the progress records read so far announce.
        """
        if self._begins_at is None:
            if Kind.PROGRESS not in read_to_their_ends:
                return None
            # No progress record is kept: what lies on the other topics was announced by none that could still be read. Let go of at once,
            # since a topic that has much of it is read on only then.
            for held in self._carried.values():
                held.clear()
            return Beginning(dict(self._read_to), None) if all(kind in read_to_their_ends for kind in Kind) else None
        if not self._all_whole_from_here(read_to_their_ends):
            return None
        source_offset, progress_offset = self._begins_at
        positions = {kind: self._first_from(kind, source_offset) for kind in _CARRIERS}
        return Beginning({**positions, Kind.PROGRESS: progress_offset}, source_offset)

    def _all_whole_from_here(self, read_to_their_ends: Collection[Kind]) -> bool:
        doubtful = self._doubtful
        while doubtful and self._progress:
            first = self._progress[0]
            for kind in tuple(doubtful):
                if self._carried[kind] and _source_offset(self._carried[kind][0], self.partition) < first.record.first_offset:
                    doubtful.discard(kind)
            whole = {kind: self._is_whole(first, kind, kind in read_to_their_ends) for kind in doubtful}
            if None in whole.values():
                return False
            if False in whole.values():
                self._begins_at = first.record.next_offset, first.offset + 1
            self._progress.popleft()
            self._source_position = first.record.next_offset
        if doubtful and Kind.PROGRESS in read_to_their_ends and all(self._carried[kind] or kind in read_to_their_ends for kind in doubtful):
            doubtful.clear()
        return not doubtful

    def _first_from(self, kind: Kind, source_offset: int) -> int:
        """Where a topic's first record stands that came from this source offset or a later one, of those that were read."""
        return next(
            (raw.offset for raw in self._carried[kind] if _source_offset(raw, self.partition) >= source_offset), self._read_to[kind]
        )

    def _is_whole(self, waiting: _Waiting, kind: Kind, read_to_its_end: bool) -> bool | None:
        """Whether a topic still holds all that a progress record announces; None while it has not been read far enough."""
        announced = waiting.announces(kind)
        first_ones = islice(self._carried[kind], announced)
        found = sum(1 for _ in takewhile(lambda raw: _source_offset(raw, self.partition) < waiting.record.next_offset, first_ones))
        if found == announced:
            return True
        return False if read_to_its_end or len(self._carried[kind]) > found else None

    def next_step(self, most_events: int, decode: DecodeBatch) -> Step | None:
        """The next whole progress records, at least one and no more events than `most_events` together; None while none is whole.

        Nothing is taken out: the same step can be made again until `captured` says that it is in the ledger.
        """
        if self._looking:
            return None
        taken = dict.fromkeys(_CARRIERS, 0)
        announced: list[Announced] = []
        events = 0
        for waiting in self._progress:
            after = {kind: taken[kind] + waiting.announces(kind) for kind in _CARRIERS}
            if any(after[kind] > len(self._carried[kind]) for kind in _CARRIERS):
                break
            if announced and events + waiting.record.arrived.events > most_events:
                break
            announced.append(self._announced(waiting, taken, decode))
            taken, events = after, events + waiting.record.arrived.events
        if not announced:
            return None
        after_all = {
            kind: self._carried[kind][taken[kind] - 1].offset + 1 if taken[kind] else self._passed_over[kind] for kind in _CARRIERS
        }
        return Step(tuple(announced), dict(self._positions), {**after_all, Kind.PROGRESS: announced[-1].progress_offset + 1})

    def captured(self, step: Step, subjects: Mapping[tuple[str, str], int]) -> None:
        """Let go of what is in the ledger by now, and remember the numbers that its customers' meters have there."""
        self.subjects.update(subjects)
        for kind in _CARRIERS:
            held = self._carried[kind]
            while held and held[0].offset < step.next[kind]:
                held.popleft()
        for one in step.announced:
            self._progress.popleft()
            self._source_position = one.progress.next_offset
        self._new = False
        self._positions = dict(step.next)
        self._passed_over = dict(step.next)

    def _follow(self, kind: Kind, offset: int) -> None:
        if offset < self._read_to[kind]:
            raise Broken(f"partition {self.partition}: {kind.value} gave offset {offset} after {self._read_to[kind] - 1}")
        self._read_to[kind] = offset + 1

    def _pass_over_what_came_before(self, kind: Kind) -> None:
        """A new ledger on old topics: what the first progress record still kept does not announce was announced by lost ones."""
        if self._source_begin is None or kind in self._begun:
            return
        held = self._carried[kind]
        while held and _source_offset(held[0], self.partition) < self._source_begin:
            self._passed_over[kind] = held.popleft().offset + 1
        if held:
            self._begun.add(kind)

    def _announced(self, waiting: _Waiting, taken: Mapping[Kind, int], decode: DecodeBatch) -> Announced:
        parts = {}
        for kind in _CARRIERS:
            parts[kind] = list(islice(self._carried[kind], taken[kind], taken[kind] + waiting.announces(kind)))
        return Announced(
            progress=waiting.record,
            progress_offset=waiting.offset,
            on_time=_forwarded(parts[Kind.ON_TIME], self.partition, decode),
            late=_forwarded(parts[Kind.LATE], self.partition, decode),
            rejected=_rejected(parts[Kind.REJECTED], self.partition, decode),
        )


def _forwarded(records: Sequence[Raw], partition: int, decode: DecodeBatch) -> list[Forwarded]:
    forwarded = []
    for raw, event in zip(records, decode([raw.value for raw in records]), strict=True):
        if isinstance(event, Refusal) or raw.value is None:
            raise Broken(
                f"partition {partition}: what was forwarded from source offset {_source_offset(raw, partition)} is no event: {event}"
            )
        suspect = HEADER_SUSPECT in raw.headers
        forwarded.append(Forwarded(_source_offset(raw, partition), _arrival_ms(raw), suspect, raw.value, event))
    return forwarded


def _rejected(records: Sequence[Raw], partition: int, decode: DecodeBatch) -> list[Rejected]:
    """What dedupe could not read is not read here either: a schema that was made known meanwhile does not change what it decided."""
    return [
        Rejected(
            rejected_offset=raw.offset,
            source_offset=_source_offset(raw, partition),
            arrival_ms=_arrival_ms(raw),
            reason=_text(raw, HEADER_REASON),
            field=_text(raw, HEADER_FIELD) if HEADER_FIELD in raw.headers else None,
            detail=_text(raw, HEADER_ERROR_MESSAGE) if HEADER_ERROR_MESSAGE in raw.headers else "",
            value=raw.value,
            event=None if isinstance(event, Refusal) or _text(raw, HEADER_REASON) in UNREAD else event,
            whole_bytes=_number(raw, HEADER_TRUNCATED) if HEADER_TRUNCATED in raw.headers else len(raw.value or b""),
        )
        for raw, event in zip(records, decode([raw.value for raw in records]), strict=True)
    ]


def _source_offset(raw: Raw, partition: int) -> int:
    named, _, offset = _text(raw, HEADER_SOURCE).partition(":")
    if named != str(partition) or not offset.isdigit():
        raise Broken(f"partition {partition}: the record at offset {raw.offset} comes from {named}:{offset}")
    return int(offset)


def _arrival_ms(raw: Raw) -> int:
    return _number(raw, HEADER_ARRIVAL)


def _number(raw: Raw, header: str) -> int:
    text = _text(raw, header)
    if not text.isdecimal():
        raise Broken(f"the record at offset {raw.offset} has {text!r} as {header}")
    return int(text)


def _text(raw: Raw, header: str) -> str:
    value = raw.headers.get(header)
    if value is None:
        raise Broken(f"the record at offset {raw.offset} lacks the header {header}")
    return value.decode(errors="replace")
