"""Capture's decisions: what a progress record and the records it announces become in the ledger.

Everything here is a function of records, the catalogue and the identities that the ledger holds already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from services.stripe_sink.core.capture_destination import NOTHING_KNOWN, Closing, Why, destination
from services.stripe_sink.core.capture_postings import postings_of
from trueup.contracts import keys
from trueup.contracts.catalogue import Catalogue, Meter, Timeline
from trueup.contracts.codec import MAX_RECORD_BYTES
from trueup.contracts.errors import Broken
from trueup.contracts.events import UsageEvent
from trueup.contracts.periods import Segment, segment_of
from trueup.contracts.progress import ZERO, ProgressRecord, Tally
from trueup.contracts.quantities import billable_quantity
from trueup.ledger.accounts import Account
from trueup.ledger.captured import ConflictRow, Decision, DivertedRow, DuplicateRow, EventRow, RefusalRow, SourceBatchRow


class Forwarded(NamedTuple):
    """One record of the on-time or the late topic."""

    source_offset: int
    arrival_ms: int
    suspect: bool
    value: bytes
    event: UsageEvent


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record of the rejected topic; `event` where its bytes gave one."""

    rejected_offset: int
    source_offset: int
    arrival_ms: int
    reason: str
    field: str | None
    detail: str
    value: bytes | None
    event: UsageEvent | None
    whole_bytes: int  # more than the value has, where the topic could not hold it whole


@dataclass(frozen=True, slots=True)
class Announced:
    """A progress record and exactly the records it announces, each list in the order of its topic."""

    progress: ProgressRecord
    progress_offset: int
    on_time: Sequence[Forwarded]
    late: Sequence[Forwarded]
    rejected: Sequence[Rejected]


class Candidate(NamedTuple):
    """An event that becomes a row unless its identity is known; with its bytes, should it be a conflict."""

    row: EventRow
    value: bytes
    to_account: Account
    why: Why | None


@dataclass(frozen=True, slots=True)
class Slice:
    """One checked progress record: its events in the order of the source, and everything already certain about it."""

    announced: SourceBatchRow
    candidates: tuple[Candidate, ...]
    refusals: tuple[RefusalRow, ...]


def check_chain(expected_first_offset: int | None, progress: ProgressRecord) -> None:
    """A partition's progress records chain without a gap; None where nothing was captured yet."""
    if expected_first_offset is not None and progress.first_offset != expected_first_offset:
        raise Broken(
            f"source partition {progress.source_partition}: a progress record begins at {progress.first_offset}, "
            f"the ledger stands at {expected_first_offset}"
        )


def slice_of(announced: Announced, timeline: Timeline, closing: Closing = NOTHING_KNOWN) -> Slice:
    """Check a progress record against what was received for it, and merge its events by source offset."""
    progress = announced.progress
    _check_progress(progress)
    offsets = [_offsets(progress, records) for records in (announced.on_time, announced.late, announced.rejected)]
    if len(set().union(*offsets)) != sum(len(some) for some in offsets):
        raise Broken(f"{_named(progress)}: one source offset was forwarded twice")
    judge = _Judge(timeline, closing)
    candidates = [judge.candidate(record, False) for record in announced.on_time]
    received_on_time = _tally_of([candidate.row for candidate in candidates])
    late = [judge.candidate(record, True) for record in announced.late]
    received_late = _tally_of([candidate.row for candidate in late])
    refusals, received_refused = _refusals(announced.rejected)
    for what, said, received in (
        ("on time", progress.on_time, received_on_time),
        ("late", progress.late, received_late),
        ("refused", progress.refused, received_refused),
    ):
        if said != received:
            raise Broken(f"{_named(progress)}: {said} announced as {what}, {received} received")
    if sum(record.suspect for record in (*announced.on_time, *announced.late)) != progress.suspect_events:
        raise Broken(f"{_named(progress)}: {progress.suspect_events} suspects announced, another number received")
    candidates += late
    candidates.sort(key=_by_source_offset)
    row = _source_batch(announced, received_on_time, received_late, received_refused)
    return Slice(row, tuple(candidates), refusals)


def decide(slices: Sequence[Slice], kept: Mapping[bytes, bytes]) -> Decision:
    """Decide every event of one batch: new, duplicate or conflict. `kept` maps identities the ledger holds to payload hashes."""
    known = dict(kept)
    accepted: list[Candidate] = []
    duplicates: list[DuplicateRow] = []
    conflicts: list[ConflictRow] = []
    batches: list[SourceBatchRow] = []
    for part in slices:
        before = (len(accepted), len(duplicates), len(conflicts))
        for candidate in part.candidates:
            row = candidate.row
            held = known.get(row.identity)
            if held is None:
                known[row.identity] = row.payload_hash
                accepted.append(candidate)
            elif held == row.payload_hash:
                duplicates.append(DuplicateRow(row.source_offset, row.identity, row.arrival_ms, row.quantity))
            else:
                conflicts.append(_conflict(candidate, held))
        batches.append(
            _with_outcome(
                part.announced,
                accepted=_tally_of([candidate.row for candidate in accepted[before[0] :]]),
                duplicate=_tally_of(duplicates[before[1] :]),
                conflict=_tally_of(conflicts[before[2] :]),
            )
        )
    return Decision(
        # Sorted by key: neighbours in the index are written together, and two writers meet in the same order.
        events=tuple(sorted([candidate.row for candidate in accepted])),
        duplicates=tuple(duplicates),
        conflicts=tuple(conflicts),
        refusals=tuple([refusal for part in slices for refusal in part.refusals]),
        postings=tuple(postings_of(accepted)),
        diverted=tuple(
            [
                DivertedRow(row.identity, row.customer, row.meter, to_account, why)
                for row, _value, to_account, why in accepted
                if why is not None
            ]
        ),
        source_batches=tuple(batches),
    )


def identities(slices: Iterable[Slice]) -> list[bytes]:
    """Every identity that a batch brings, sorted, each once."""
    return sorted({candidate.row.identity for part in slices for candidate in part.candidates})


def used(announced: Iterable[Announced]) -> set[tuple[str, str]]:
    """Every (customer, meter) of the records announced: whose periods must be known before they are decided."""
    return {(record.event.customer, record.event.meter) for one in announced for record in (*one.on_time, *one.late)}


def subjects(slices: Iterable[Slice]) -> set[tuple[str, str]]:
    """Every (customer, meter) that a batch may post to."""
    return {(candidate.row.customer, candidate.row.meter) for part in slices for candidate in part.candidates}


def _check_progress(progress: ProgressRecord) -> None:
    decided = progress.on_time + progress.late + progress.duplicate + progress.refused
    if progress.arrived != decided:
        raise Broken(f"{_named(progress)}: {progress.arrived} arrived, {decided} decided")
    width = progress.next_offset - progress.first_offset
    if width <= 0 or progress.arrived.events > width:
        raise Broken(f"{_named(progress)}: {progress.arrived.events} events cannot stand in {width} offsets")


def _offsets(progress: ProgressRecord, records: Sequence[Forwarded] | Sequence[Rejected]) -> list[int]:
    """The source offsets of one topic's records: rising, and inside what the progress record covers."""
    offsets = [record.source_offset for record in records]
    previous = progress.first_offset - 1
    for offset in offsets:
        if not previous < offset < progress.next_offset:
            raise Broken(f"{_named(progress)}: a record of source offset {offset} came after {previous}")
        previous = offset
    return offsets


@dataclass(slots=True)
class _Window:
    """What is the same for all usage of one customer's meter in one roll-up window."""

    segment: Segment | None  # None where a boundary divides the window
    deadline_ms: int | None


class _Judge:
    """What the catalogue and the billing periods say of each event. Many share an arrival, and a window: each is looked up once."""

    def __init__(self, timeline: Timeline, closing: Closing) -> None:
        self._timeline = timeline
        self._closing = closing
        self._arrival_ms: int | None = None
        self._catalogue: Catalogue | None = None
        self._windows: dict[tuple[str, str, int, int], _Window] = {}

    def candidate(self, record: Forwarded, late: bool) -> Candidate:
        """The row that a forwarded event becomes unless its identity is known."""
        event = record.event
        catalogue = self._in_force(record.arrival_ms)
        meter = catalogue.meters.get(event.meter)
        if meter is None:
            raise Broken(f"source offset {record.source_offset}: forwarded with meter {event.meter!r}, which the catalogue lacks")
        bill_from_ms = catalogue.policy.bill_from_ms
        segment, deadline_ms = self._place(event, meter, bill_from_ms)
        billable = billable_quantity(event, meter)
        to_account: Account = Account.UNSENT
        why: Why | None = None
        never_billed = event.customer in self._closing.never_billed
        if bill_from_ms is not None and event.event_time_ms < bill_from_ms:
            to_account, why = Account.SHADOW, Why.BEFORE_BILL_FROM
        elif never_billed or late or deadline_ms is not None:
            to_account, why = destination(
                never_billed=never_billed,
                late=late,
                deadline_ms=deadline_ms,
                now_ms=self._closing.now_ms,
                billable_quantity=billable,
                meter=meter,
                catalogue=catalogue,
            )
        # By position, in the order of EventRow: by name it would cost three times as much, once per event.
        row = EventRow(
            keys.identity(event.source, event.id),
            keys.payload_hash(event),
            event.customer,
            event.meter,
            event.source,
            event.id,
            event.quantity,
            billable,
            event.event_time_ms,
            record.arrival_ms,
            late,
            event.reason,
            event.corrects,
            event.dimensions,
            segment.start_ms,
            segment.end_ms,
            record.source_offset,
        )
        return Candidate(row, record.value, to_account, why)

    def _in_force(self, arrival_ms: int) -> Catalogue:
        if self._catalogue is None or arrival_ms != self._arrival_ms:
            _version, self._catalogue = self._timeline.in_force_at(arrival_ms)
            self._arrival_ms = arrival_ms
        return self._catalogue

    def _place(self, event: UsageEvent, meter: Meter, bill_from_ms: int | None) -> tuple[Segment, int | None]:
        """The segment of an event, and until when it may be sent."""
        time_ms, roll_up = event.event_time_ms, meter.roll_up_seconds
        key = (event.customer, event.meter, time_ms // (roll_up * 1000), roll_up)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = self._window(event, roll_up)
        if window.segment is not None and bill_from_ms is None:
            return window.segment, window.deadline_ms
        calendar = self._closing.calendar(event.customer, event.meter)
        edges = calendar.boundaries_ms if bill_from_ms is None else (*calendar.boundaries_ms, bill_from_ms)
        return segment_of(time_ms, roll_up, edges), calendar.deadline_ms(time_ms)

    def _window(self, event: UsageEvent, roll_up_seconds: int) -> _Window:
        whole = segment_of(event.event_time_ms, roll_up_seconds)
        calendar = self._closing.calendar(event.customer, event.meter)
        divided = calendar.boundaries_inside(whole.start_ms, whole.end_ms)
        return _Window(None if divided else whole, calendar.deadline_ms(event.event_time_ms))


def _by_source_offset(candidate: Candidate) -> int:
    return candidate.row.source_offset


def _tally_of(rows: Sequence[EventRow] | Sequence[DuplicateRow] | Sequence[ConflictRow]) -> Tally:
    id_sum_term = keys.id_sum_term
    return Tally(len(rows), sum([row.quantity for row in rows]), sum([id_sum_term(row.identity) for row in rows]))


def _refusals(records: Sequence[Rejected]) -> tuple[tuple[RefusalRow, ...], Tally]:
    total = ZERO
    rows = []
    for record in records:
        event = record.event
        identity = None if event is None else keys.identity(event.source, event.id)
        term = keys.id_sum_term(keys.bytes_identity(record.value) if identity is None else identity)
        total += Tally(1, 0 if event is None else event.quantity, term)
        rows.append(_refusal(record, identity))
    return tuple(rows), total


def _refusal(record: Rejected, identity: bytes | None) -> RefusalRow:
    event = record.event
    value = record.value
    return RefusalRow(
        source_offset=record.source_offset,
        arrival_ms=record.arrival_ms,
        reason=record.reason,
        field=record.field,
        detail=_storable(record.detail),
        identity=identity,
        source=None if event is None else _storable(event.source),
        id=None if event is None else _storable(event.id),
        customer=None if event is None else _storable(event.customer),
        meter=None if event is None else _storable(event.meter),
        quantity=None if event is None else event.quantity,
        record=value if record.whole_bytes <= MAX_RECORD_BYTES else None,
        record_bytes=record.whole_bytes,
        record_sha256=hashlib.sha256(value or b"").hexdigest(),
        rejected_offset=record.rejected_offset,
    )


def _storable(text: str) -> str:
    """Postgres keeps no NUL in text; the record's own bytes stand beside it."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _conflict(candidate: Candidate, held: bytes) -> ConflictRow:
    row = candidate.row
    return ConflictRow(
        source_offset=row.source_offset,
        identity=row.identity,
        source=row.source,
        id=row.id,
        customer=row.customer,
        meter=row.meter,
        quantity=row.quantity,
        event_time_ms=row.event_time_ms,
        arrival_ms=row.arrival_ms,
        kept_payload_hash=held,
        seen_payload_hash=row.payload_hash,
        record=candidate.value,
    )


def _source_batch(announced: Announced, on_time: Tally, late: Tally, refused: Tally) -> SourceBatchRow:
    progress = announced.progress
    return SourceBatchRow(
        first_offset=progress.first_offset,
        next_offset=progress.next_offset,
        progress_offset=announced.progress_offset,
        catalogue_version=progress.catalogue_version,
        last_arrival_ms=progress.last_arrival_ms,
        arrived=progress.arrived,
        on_time=progress.on_time,
        late=progress.late,
        duplicate=progress.duplicate,
        refused=progress.refused,
        suspect_events=progress.suspect_events,
        received_on_time=on_time,
        received_late=late,
        received_refused=refused,
        accepted=ZERO,
        ledger_duplicate=ZERO,
        conflict=ZERO,
    )


def _with_outcome(row: SourceBatchRow, *, accepted: Tally, duplicate: Tally, conflict: Tally) -> SourceBatchRow:
    return replace(row, accepted=accepted, ledger_duplicate=duplicate, conflict=conflict)


def _named(progress: ProgressRecord) -> str:
    return f"source partition {progress.source_partition}, offsets {progress.first_offset} to {progress.next_offset}"
