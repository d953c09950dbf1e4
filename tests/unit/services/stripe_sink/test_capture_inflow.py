"""Four topics become whole progress records, in whatever order their records are read."""

import random

import pytest

from services.stripe_sink.core.inflow import Inflow, Kind, Raw
from tests.makers.capture_batches import NOON_MS, make_announced, make_event, make_forwarded, make_rejected
from trueup.contracts.codec import Decoder
from trueup.contracts.errors import Broken

DECODE = Decoder().decode_batch
START = dict.fromkeys(Kind, 0)


def _raw(offset, value, source_offset, partition=0, **headers):
    named = {"trueup-arrival": b"%d" % NOON_MS, "trueup-source": b"%d:%d" % (partition, source_offset)}
    return Raw(offset, value, named | {name.replace("_", "-"): text.encode() for name, text in headers.items()})


def _feed(inflow, announced, offsets=None):
    """Put a progress record and its records on the topics, from these offsets on."""
    offsets = offsets or dict.fromkeys(Kind, 0)
    for kind, records in ((Kind.ON_TIME, announced.on_time), (Kind.LATE, announced.late), (Kind.REJECTED, announced.rejected)):
        for at, record in enumerate(records):
            reason = {"trueup_reason": record.reason} if kind is Kind.REJECTED else {}
            inflow.add(kind, _raw(offsets[kind] + at, record.value, record.source_offset, **reason))
    inflow.add_progress(offsets[Kind.PROGRESS], announced.progress)


def _everything(first=0):
    return make_announced(
        first_offset=first,
        on_time=[make_forwarded(first, make_event(f"a{first}"), arrival_ms=NOON_MS)],
        late=[make_forwarded(first + 1, make_event(f"b{first}"), arrival_ms=NOON_MS)],
        rejected=[make_rejected(first + 2, b"x", arrival_ms=NOON_MS)],
    )


def test_step_holds_a_whole_progress_record():
    """What comes out is what went in: records, offsets from and to, nothing half."""
    inflow = Inflow(0, START, None, None)
    announced = _everything()
    _feed(inflow, announced)
    step = inflow.next_step(10, DECODE)
    (one,) = step.announced
    assert (one.progress, one.on_time, one.late) == (announced.progress, announced.on_time, announced.late)
    assert (one.rejected[0].reason, one.rejected[0].value, one.rejected[0].event) == ("undecodable", b"x", None)
    assert (step.expected, step.next) == (START, dict.fromkeys(Kind, 1))


@pytest.mark.parametrize("missing", list(Kind))
def test_nothing_is_taken_before_all_is_there(missing):
    """A progress record waits for every record that it announces, and records wait for theirs."""
    inflow = Inflow(0, START, None, None)
    announced = _everything()
    for kind, records in ((Kind.ON_TIME, announced.on_time), (Kind.LATE, announced.late), (Kind.REJECTED, announced.rejected)):
        if kind is not missing:
            inflow.add(kind, _raw(0, records[0].value, records[0].source_offset, trueup_reason="undecodable"))
    if missing is not Kind.PROGRESS:
        inflow.add_progress(0, announced.progress)
        assert inflow.wanted(missing) == 1
    assert inflow.next_step(10, DECODE) is None
    assert not inflow.empty


def test_step_is_made_again_until_it_is_captured():
    """A failed transaction loses nothing: the very same step comes again."""
    inflow = Inflow(0, START, None, None)
    _feed(inflow, _everything())
    first = inflow.next_step(10, DECODE)
    assert inflow.next_step(10, DECODE) == first
    inflow.captured(first, {})
    assert inflow.empty
    assert inflow.positions == dict.fromkeys(Kind, 1)
    assert inflow.next_step(10, DECODE) is None


def test_step_holds_several_progress_records_up_to_the_limit():
    """Small batches share a transaction; one that is larger than the limit still goes, alone."""
    inflow = Inflow(0, START, None, None)
    for number in range(5):
        _feed(inflow, _everything(3 * number), dict.fromkeys(Kind, number))
    assert len(inflow.next_step(7, DECODE).announced) == 2
    assert len(inflow.next_step(1, DECODE).announced) == 1
    assert len(inflow.next_step(100, DECODE).announced) == 5


def test_order_of_reading_does_not_matter():
    """The topics are read at their own pace; the steps are the same."""
    announced = [_everything(3 * number) for number in range(6)]
    records = {
        Kind.ON_TIME: [_raw(n, one.on_time[0].value, one.on_time[0].source_offset) for n, one in enumerate(announced)],
        Kind.LATE: [_raw(n, one.late[0].value, one.late[0].source_offset) for n, one in enumerate(announced)],
        Kind.REJECTED: [_raw(n, b"x", one.rejected[0].source_offset, trueup_reason="undecodable") for n, one in enumerate(announced)],
    }
    for seed in range(20):
        inflow = Inflow(0, START, None, None)
        order = random.Random(seed).sample([kind for kind in Kind for _ in announced], 24)
        at = dict.fromkeys(Kind, 0)
        captured = []
        for kind in order:
            if kind is Kind.PROGRESS:
                inflow.add_progress(at[kind], announced[at[kind]].progress)
            else:
                inflow.add(kind, records[kind][at[kind]])
            at[kind] += 1
            while step := inflow.next_step(4, DECODE):
                captured += step.announced
                inflow.captured(step, {})
        assert [one.progress for one in captured] == [one.progress for one in announced]
        assert inflow.empty


def test_gaps_made_by_control_records_are_no_gaps():
    """A topic written in transactions has offsets without records; positions move over them."""
    inflow = Inflow(0, START, None, None)
    _feed(inflow, _everything(), {Kind.ON_TIME: 7, Kind.LATE: 2, Kind.REJECTED: 5, Kind.PROGRESS: 9})
    assert inflow.next_step(10, DECODE).next == {Kind.ON_TIME: 8, Kind.LATE: 3, Kind.REJECTED: 6, Kind.PROGRESS: 10}


def test_new_ledger_on_old_topics_begins_with_the_first_progress_record_kept():
    """What lost progress records announced is passed over, whichever topic is read first, and after a restart too."""
    for late_topic_first in (True, False):
        inflow = Inflow(0, START, None, None)
        announced = make_announced(first_offset=50, on_time=[make_forwarded(51, make_event("b"), arrival_ms=NOON_MS)])
        inflow.add(Kind.ON_TIME, _raw(0, b"old", 40))
        if late_topic_first:
            inflow.add(Kind.LATE, _raw(3, b"old", 41))
        inflow.add_progress(0, announced.progress)
        inflow.add(Kind.ON_TIME, _raw(1, announced.on_time[0].value, 51))
        step = inflow.next_step(10, DECODE)
        assert step.next == {Kind.ON_TIME: 2, Kind.LATE: 4 if late_topic_first else 0, Kind.REJECTED: 0, Kind.PROGRESS: 1}
        restarted = Inflow(0, step.next, 50, 52)
        if not late_topic_first:
            restarted.add(Kind.LATE, _raw(3, b"old", 41))
        assert restarted.empty


def _batch(first, on_time=0, late=0):
    """A batch of so many events on time, then late; at its end a duplicate, so that it ends behind the last of them."""
    events = [make_forwarded(first + at, make_event(f"{first + at}"), arrival_ms=NOON_MS) for at in range(on_time + late)]
    return make_announced(first_offset=first, on_time=events[:on_time], late=events[on_time:])


# Records of source offsets 0-2 | 3 | 4-5 (late) | 6 (late) | 7-8
BATCHES = [_batch(0, 3), _batch(3, 1), _batch(4, late=2), _batch(6, late=1), _batch(7, 2)]


def _what_is_kept(gone):
    """Every record that is still on the topics, as (kind, raw or offset and progress record)."""
    kept = [(Kind.PROGRESS, at, one.progress) for at, one in enumerate(BATCHES)]
    for kind, records in (
        (Kind.ON_TIME, [r for one in BATCHES for r in one.on_time]),
        (Kind.LATE, [r for one in BATCHES for r in one.late]),
    ):
        kept += [(kind, at, _raw(at, record.value, record.source_offset)) for at, record in enumerate(records)]
    return [row for row in kept if row[1] >= gone.get(row[0], 0)]


def _read(inflow, kept):
    for kind, at, what in kept:
        if at >= inflow.positions[kind]:
            inflow.add_progress(at, what) if kind is Kind.PROGRESS else inflow.add(kind, what)


@pytest.mark.parametrize(
    ("gone", "begins_with"),
    [
        ({Kind.ON_TIME: 1}, 1),
        ({Kind.ON_TIME: 3}, 1),
        ({Kind.ON_TIME: 4}, 2),
        ({Kind.ON_TIME: 5}, 5),
        ({Kind.ON_TIME: 6}, 5),
        ({Kind.LATE: 1}, 3),
        ({Kind.LATE: 2}, 3),
        ({Kind.LATE: 3}, 4),
        ({Kind.ON_TIME: 1, Kind.LATE: 2}, 3),
        ({Kind.ON_TIME: 4, Kind.PROGRESS: 1}, 2),
        ({Kind.ON_TIME: 3, Kind.PROGRESS: 1}, 1),
        ({Kind.ON_TIME: 3, Kind.PROGRESS: 3}, 3),
    ],
)
@pytest.mark.parametrize("seed", range(10))
def test_new_ledger_begins_behind_the_last_progress_record_of_which_something_is_gone(gone, begins_with, seed):
    """Retention takes the segments of each topic at other places. What is whole behind that counts, in whatever order it is read."""
    inflow = Inflow(0, {**START, **gone}, None, None)
    kept = _what_is_kept(gone)
    draw = random.Random(seed)
    order = draw.sample([kind for kind, _, _ in kept], len(kept))
    queues = {kind: iter([row for row in kept if row[0] is kind]) for kind in Kind}
    found = None
    for kind in order:
        assert inflow.next_step(100, DECODE) is None
        _read(inflow, [next(queues[kind])])
        found = inflow.look(())
        if found is not None:
            break
    found = found or inflow.look(list(Kind))
    assert found is not None
    assert found.source_offset == ([one.progress.first_offset for one in BATCHES] + [9])[begins_with]
    inflow = Inflow(0, found.positions, None, None, looked=True)
    for _rebalance in range(2):
        inflow = inflow.again()
        _read(inflow, kept)
    step = inflow.next_step(100, DECODE)
    assert [one.progress for one in (step.announced if step else ())] == [one.progress for one in BATCHES[begins_with:]]
    if step:
        assert [r.source_offset for one in step.announced for r in one.on_time] == [
            r.source_offset for one in BATCHES[begins_with:] for r in one.on_time
        ]
        inflow.captured(step, {})
        assert inflow.empty
        with pytest.raises(Broken):
            inflow.again().add_progress(99, _batch(11, 1).progress)


def test_new_ledger_waits_for_what_may_still_be_read():
    """Nothing is taken for gone that was not read yet."""
    inflow = Inflow(0, {**START, Kind.ON_TIME: 1}, None, None)
    kept = _what_is_kept({Kind.ON_TIME: 1})
    _read(inflow, [row for row in kept if row[0] is Kind.PROGRESS])
    assert not inflow.look({Kind.PROGRESS, Kind.LATE})
    _read(inflow, [row for row in kept if row[0] is Kind.ON_TIME][:2])
    assert not inflow.look({Kind.PROGRESS, Kind.LATE}), "both belong to the first batch, of which the third may come"
    _read(inflow, [row for row in kept if row[0] is Kind.ON_TIME][2:])
    assert inflow.look(()) is not None


def test_new_ledger_passes_over_what_no_progress_record_is_kept_of():
    """Refused records are kept longer than what announced them: they would wait for ever, and be missed once they are gone too."""
    inflow = Inflow(0, {**START, Kind.PROGRESS: 4}, None, None)
    inflow.add(Kind.REJECTED, _raw(0, b"x", 3))
    assert inflow.look({Kind.ON_TIME, Kind.LATE, Kind.REJECTED}) is None, "a progress record may come"
    assert inflow.look({Kind.ON_TIME, Kind.LATE, Kind.PROGRESS}) is None, "more refused ones may"
    assert inflow.waiting(Kind.REJECTED) == 0, "and are read on, whatever the limits say"
    beginning = inflow.look(list(Kind))
    assert (beginning.positions, beginning.source_offset) == ({**START, Kind.REJECTED: 1, Kind.PROGRESS: 4}, None)
    assert not Inflow(0, beginning.positions, None, None, looked=True).looks_for_its_beginning


@pytest.mark.parametrize(
    "spoil",
    [
        lambda inflow: inflow.add(Kind.ON_TIME, _raw(4, b"x", 0)),
        lambda inflow: inflow.add_progress(6, make_announced(partition=1).progress),
        lambda inflow: inflow.add_progress(6, make_announced(first_offset=9).progress),
    ],
    ids=["an offset read before", "another partition's progress", "a gap in the progress chain"],
)
def test_what_cannot_be_halts(spoil):
    """Disorder on our own topics is never repaired by guessing."""
    inflow = Inflow(0, dict.fromkeys(Kind, 5), 0, 8)
    with pytest.raises(Broken):
        spoil(inflow)


@pytest.mark.parametrize(
    ("value", "headers"),
    [(b"no event", {}), (None, {}), (b"", {"trueup-source": b"1:0"}), (b"", {"trueup-source": b"zero"}), (b"", {"trueup-arrival": None})],
    ids=["bytes that are no event", "no bytes", "another partition", "no source", "no arrival"],
)
def test_forwarded_record_that_is_none_halts(value, headers):
    """Dedupe forwards decoded events only; anything else is a fault of ours, not of a producer."""
    inflow = Inflow(0, START, None, None)
    announced = make_announced(on_time=[make_forwarded(0, make_event("a"))])
    raw = _raw(0, announced.on_time[0].value if value == b"" else value, 0)
    with pytest.raises(Broken):
        inflow.add(Kind.ON_TIME, raw._replace(headers=dict(raw.headers) | headers))
        inflow.add_progress(0, announced.progress)
        inflow.next_step(10, DECODE)


@pytest.mark.parametrize("reason", ["unknown_schema", "undecodable"])
def test_what_dedupe_could_not_read_stays_unread_once_its_schema_is_known(reason):
    """Its progress record counts bytes and no quantity: read as an event after all, the announced sums never came together again."""
    inflow = Inflow(0, START, None, None)
    readable = make_forwarded(0, make_event("a")).value
    announced = make_announced(rejected=[make_rejected(0, readable, reason=reason, arrival_ms=NOON_MS)])
    _feed(inflow, announced)
    (one,) = inflow.next_step(10, DECODE).announced
    assert (one.rejected[0].value, one.rejected[0].event) == (readable, None)
    assert one.rejected[0].reason == reason
