"""A restored memory is the memory that was lost, wherever the batches ended and wherever the room died."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dedupe.core.memory import MEMORY_HOURS, Partition
from services.dedupe.core.records import Output, Record
from services.dedupe.core.restore import chain_up_to, continues, reaches_back, rebuilt
from tests.makers.dedupe_stories import BEGIN_MS, HOUR_MS, decide, event, outcomes, record
from trueup.contracts.codec import decode_progress, encode_progress
from trueup.contracts.errors import Broken
from trueup.contracts.keys import identity
from trueup.contracts.progress import ProgressRecord

CONTENTS = st.one_of(
    st.builds(event, st.sampled_from("abcdef"), quantity=st.sampled_from([1, 1, 1, 2])),
    st.sampled_from([None, b"garbage", event("a", quantity=-1), event("b", meter="nothing")]),
)
# Mostly forward by less than an hour, now and then past the end of the memory, sometimes back: clocks do that.
STEPS_MS = st.one_of(
    st.integers(0, HOUR_MS),
    st.sampled_from([0, 24 * HOUR_MS, 47 * HOUR_MS, 48 * HOUR_MS, 49 * HOUR_MS, -HOUR_MS, -48 * HOUR_MS, -60 * HOUR_MS]),
)
GAPS = st.integers(1, 3)


@st.composite
def prefixes(draw: st.DrawFn) -> list[Record]:
    """A source partition: offsets with gaps, append times that mostly grow."""
    records, offset, at_ms = [], 0, BEGIN_MS + 1000 * HOUR_MS
    for content, step_ms, gap in draw(st.lists(st.tuples(CONTENTS, STEPS_MS, GAPS), min_size=1, max_size=40)):
        at_ms += step_ms
        records.append(record(offset, content, at_ms))
        offset += gap
    return records


@dataclass
class Room:
    """One worker after another on a partition: what they committed, and the progress topic they leave behind."""

    partition: Partition
    outputs: list[Output]
    progress: list[ProgressRecord]

    def take(self, batch: list[Record]) -> None:
        """One committed transaction."""
        decided = decide(self.partition, batch)
        self.outputs += decided.outputs
        self.progress.append(decode_progress(encode_progress(decided.progress)))

    def die_and_restart(self) -> None:
        """All that is left is what was written; it is read back in pages until it reaches far enough."""
        pages = list(self.progress)
        read: list[ProgressRecord] = []
        while pages and not reaches_back(chain_up_to(read, self.partition.next_offset)):
            read.insert(0, pages.pop())
        self.partition = rebuilt(0, self.partition.next_offset, 0, read)

    def move_to(self, known: Partition | None) -> None:
        """To another worker, who may have kept a memory from before."""
        pages = list(self.progress)
        read: list[ProgressRecord] = []
        while pages and not (reaches_back(chain := chain_up_to(read, self.partition.next_offset)) or continues(chain, known)):
            read.insert(0, pages.pop())
        self.partition = rebuilt(0, self.partition.next_offset, 0, read, known)


@settings(max_examples=300, deadline=None)
@given(prefixes(), st.data())
def test_batches_and_restarts_change_no_output(records: list[Record], data: st.DataObject) -> None:
    """Any split of the same input into batches, and any restart between them, gives the same outputs and the same memory."""
    whole = Room(Partition(0, 0), [], [])
    whole.take(records)
    pieces = Room(Partition(0, 0), [], [])
    rest = records
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.take(rest[:size])
        rest = rest[size:]
        if data.draw(st.booleans()):
            pieces.die_and_restart()
    assert pieces.outputs == whole.outputs
    assert _total_arrived(pieces.progress) == _total_arrived(whole.progress)
    assert pieces.partition.known == whole.partition.known
    assert pieces.partition.newest_arrival_ms == whole.partition.newest_arrival_ms


@settings(max_examples=300, deadline=None)
@given(prefixes(), st.data())
def test_a_partition_that_wanders_between_workers_is_the_same_everywhere(records: list[Record], data: st.DataObject) -> None:
    """Whoever had it before goes on from the memory it kept, reading only what others decided since."""
    whole = Room(Partition(0, 0), [], [])
    whole.take(records)
    shared = Room(Partition(0, 0), [], [])
    kept: dict[str, Partition] = {"a": shared.partition}
    rest = records
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        shared.take(rest[:size])
        rest = rest[size:]
        worker = data.draw(st.sampled_from("abc"))
        shared.move_to(kept.get(worker))
        kept[worker] = shared.partition
    assert shared.outputs == whole.outputs
    assert shared.partition.known == whole.partition.known
    assert shared.partition.newest_arrival_ms == whole.partition.newest_arrival_ms


def test_a_kept_memory_is_gone_on_from_where_it_stands() -> None:
    """Only the newest record was read: what is older is in the memory already."""
    written = [progress_over(0, 10), progress_over(10, 20), progress_over(20, 30)]
    kept = rebuilt(0, 20, 0, written[:2])
    assert continues(written[2:], kept) and not continues(written[2:], Partition(0, 15)) and not continues(written[2:], None)
    partition = rebuilt(0, 30, 0, written[2:], kept)
    assert partition is kept
    assert partition.next_offset == 30
    assert remembers(partition, "0-10", "10-20", "20-30")


@pytest.mark.parametrize("stands_at", [15, 40])
def test_a_kept_memory_of_another_past_is_not_gone_on_from(stands_at: int) -> None:
    """It stands where no batch ended, or past all of them: the records alone tell."""
    written = [progress_over(0, 10), progress_over(10, 20), progress_over(20, 30)]
    partition = rebuilt(0, 30, 0, written, Partition(0, stands_at))
    assert remembers(partition, "0-10", "10-20", "20-30")


def _total_arrived(progress: list[ProgressRecord]) -> tuple[int, int, int]:
    return (
        sum(record.arrived.events for record in progress),
        sum(record.arrived.quantity for record in progress),
        sum(record.arrived.id_sum for record in progress),
    )


@settings(max_examples=300, deadline=None)
@given(prefixes())
def test_the_memory_does_what_a_list_of_everything_would(records: list[Record]) -> None:
    """An oracle without hours or hashes: it keeps every event it ever let through and searches them all."""
    kept: list[tuple[int, bytes, bytes]] = []
    expected = []
    newest_hour = 0
    for arrived in records:
        hour = arrived.arrival_ms // HOUR_MS
        newest_hour = max(newest_hour, hour)
        fit = arrived.value is not None and arrived.value in GOOD_VALUES
        if not fit:
            expected.append("refused")
            continue
        id = GOOD_VALUES[arrived.value or b""]
        held = [value for at, known, value in kept if known == id and at > newest_hour - 48]
        if not held:
            kept.append((hour, id, arrived.value or b""))
        expected.append("forwarded" if not held else "dropped" if held[-1] == arrived.value else "suspect")
    assert [_plain(outcome) for outcome in outcomes(records, decide(Partition(0, 0), records).outputs)] == expected


GOOD_VALUES = {record(0, event(id, quantity=quantity)).value or b"": identity("inference", id) for id in "abcdef" for quantity in (1, 2)}


def _plain(outcome: str) -> str:
    if outcome.endswith("suspect"):
        return "suspect"
    return {"on_time": "forwarded", "late": "forwarded", "dropped": "dropped"}.get(outcome, "refused")


def test_hours_that_are_forgotten_leave_no_memory_behind() -> None:
    """Else a room would grow for as long as it lives."""
    partition = Partition(0, 0)
    for hour in range(200):
        decide(partition, [record(hour, event(f"e{hour}"), BEGIN_MS + hour * HOUR_MS)])
    assert len(partition.known) == MEMORY_HOURS
    assert partition.remembered_hours == MEMORY_HOURS


def progress_over(first: int, last: int, hour: int = 0) -> ProgressRecord:
    """A progress record over [first, last) whose one id is named by where it ends."""
    partition = Partition(0, first)
    records = [record(last - 1, event(f"{first}-{last}"), BEGIN_MS + hour * HOUR_MS)]
    return decide(partition, records).progress


def remembers(partition: Partition, *names: str) -> bool:
    """Says whether exactly these ids are known."""
    return set(partition.known) == {identity("inference", name) for name in names}


@pytest.mark.parametrize("committed", [None, 0, 5, 20, 30])
def test_restoring_takes_all_records_also_when_the_committed_offset_lies_behind_them(committed: int | None) -> None:
    """Offsets and records are committed together: a coordinator that says less has forgotten."""
    written = [progress_over(0, 10), progress_over(10, 20), progress_over(20, 30)]
    partition = rebuilt(0, committed, 0, written)
    assert partition.next_offset == 30
    assert remembers(partition, "0-10", "10-20", "20-30")


def test_batches_that_do_not_join_are_left_out() -> None:
    """They were decided, but not in the past that leads to this offset."""
    written = [progress_over(0, 10), progress_over(10, 20), progress_over(10, 15), progress_over(15, 30)]
    partition = rebuilt(0, 30, 0, written)
    assert remembers(partition, "0-10", "10-15", "15-30")


def test_no_committed_offset_goes_on_from_the_last_record() -> None:
    """The group's offsets expire before the progress records do."""
    partition = rebuilt(0, None, 3, [progress_over(0, 10), progress_over(10, 20)])
    assert partition.next_offset == 20
    assert remembers(partition, "0-10", "10-20")


@pytest.mark.parametrize(("committed", "stands_at"), [(None, 3), (70, 70)])
def test_without_any_record_the_memory_is_empty(committed: int | None, stands_at: int) -> None:
    """A new room starts at the log's start; an old one, whose records are gone, where it stood."""
    partition = rebuilt(0, committed, 3, [])
    assert (partition.next_offset, partition.known) == (stands_at, {})


@pytest.mark.parametrize("committed", [21, 40])
def test_an_offset_past_what_was_decided_halts(committed: int) -> None:
    """Going on with a memory of another place would double or drop events in silence."""
    with pytest.raises(Broken, match=f"committed offset {committed}"):
        rebuilt(0, committed, 0, [progress_over(0, 10), progress_over(10, 20)])


def test_reading_back_ends_once_the_first_record_is_forgotten() -> None:
    """48 hours of arrivals are enough, however long the topic keeps its records."""
    old, middle, new = progress_over(0, 10), progress_over(10, 20, hour=47), progress_over(20, 30, hour=48)
    assert not reaches_back([])
    assert not reaches_back([middle, new])
    assert reaches_back([old, middle, new])
    assert not reaches_back([old, middle])


def test_a_record_of_elsewhere_is_not_absorbed() -> None:
    """Neither one of another partition nor one that leaves a gap."""
    partition = Partition(1, 0)
    with pytest.raises(Broken):
        partition.absorb(progress_over(0, 10))
    with pytest.raises(Broken):
        Partition(0, 9).absorb(progress_over(10, 20))
