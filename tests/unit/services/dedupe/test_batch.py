"""Each event ends in exactly one place, and the progress record says how many ended where."""

from __future__ import annotations

import pytest

from services.dedupe.core.batch import apply, pass_over
from services.dedupe.core.memory import Partition
from services.dedupe.core.records import MAX_KEPT_BYTES, Record
from tests.makers.dedupe_stories import (
    BEGIN_MS,
    DECODER,
    FIRST,
    HOUR_MS,
    SECOND,
    TIMELINE,
    TOPIC,
    decide,
    event,
    outcomes,
    record,
)
from trueup.contracts.catalogue import Timeline, parse
from trueup.contracts.codec import MAX_RECORD_BYTES, Framing, encode_event
from trueup.contracts.errors import Broken
from trueup.contracts.keys import bytes_identity, id_sum_term, identity, record_hash
from trueup.contracts.progress import Tally
from trueup.contracts.topics import HEADER_TRUNCATED

MINUTE_MS = 60_000

# hours since the beginning | id | quantity | where it ends
DUPLICATES = """
    0    | a | 5 | on_time
    0    | a | 5 | dropped
    0    | a | 7 | on_time suspect
    0    | a | 7 | on_time suspect
    0    | b | 5 | on_time
    25   | a | 5 | dropped
    47.9 | b | 5 | dropped
    48   | a | 5 | on_time
    49   | a | 5 | dropped
    49   | b | 7 | on_time
    1    | c | 5 | on_time
    1    | c | 5 | on_time
    2    | d | 5 | on_time
    2    | d | 5 | dropped
    95.9 | b | 7 | dropped
    200  | b | 5 | on_time
"""


POLICY = """
[policy]
finalization_grace = "P60D"
"""


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_duplicates_are_dropped_for_48_append_hours(batch_size: int) -> None:
    """A duplicate after 25 h is dropped, one after 49 h forwarded; unequal payload is forwarded as suspect; batches do not matter."""
    rows = [[cell.strip() for cell in line.split("|")] for line in DUPLICATES.strip().splitlines()]
    records = []
    for offset, (hours, id, quantity, _) in enumerate(rows):
        at_ms = BEGIN_MS + int(float(hours) * HOUR_MS)
        records.append(record(offset, event(id, quantity=int(quantity)), at_ms))
    # Lateness is another table's matter: here every meter waits long enough.
    patient = Timeline().with_version(1, 0, parse(FIRST.replace('"PT45M"', '"P40D"\nhorizon = "P50D"') + POLICY))
    partition, outputs = Partition(3, 0), []
    for start in range(0, len(records), batch_size):
        outputs += decide(partition, records[start : start + batch_size], patient).outputs
    assert outcomes(records, outputs) == [row[3] for row in rows]


def test_lateness_is_judged_at_arrival_by_the_policy_in_force_then() -> None:
    """Exactly the billing window is on time, one millisecond more is late by one millisecond."""
    at_ms = BEGIN_MS
    records = [
        record(10, event("a", at_ms - 45 * MINUTE_MS), at_ms),
        record(11, event("b", at_ms - 45 * MINUTE_MS - 1), at_ms),
        record(12, event("c", at_ms - 40 * 24 * HOUR_MS), at_ms),
    ]
    decided = decide(Partition(0, 10), records)
    assert outcomes(records, decided.outputs) == ["on_time", "late", "late"]
    assert dict(decided.outputs[1].headers)["trueup-late-by"] == b"1"
    assert "trueup-late-by" not in dict(decided.outputs[0].headers)


def test_a_new_version_decides_from_a_minute_after_its_append_time() -> None:
    """Before that minute its meter is unknown and its shorter window not yet in force."""
    timeline = TIMELINE.with_version(2, BEGIN_MS, parse(SECOND))
    before, after = BEGIN_MS + MINUTE_MS - 1, BEGIN_MS + MINUTE_MS
    records = [
        record(0, event("a", before, meter="runs"), before),
        record(1, event("b", before - 20 * MINUTE_MS), before),
        record(2, event("c", after, meter="runs"), after),
        record(3, event("d", after - 20 * MINUTE_MS), after),
    ]
    decided = decide(Partition(0, 0), records, timeline)
    assert outcomes(records, decided.outputs) == ["unknown_meter", "on_time", "on_time", "late"]
    assert decided.progress.catalogue_version == 2


GOOD = encode_event(event("x"))

REFUSED = [
    (None, "undecodable", None),
    (b"", "undecodable", None),
    (b"garbage", "undecodable", None),
    (GOOD + b"\x00", "undecodable", None),
    (GOOD[:-1] + b"\xff", "undecodable", None),
    (GOOD[:-1], "undecodable", None),
    (b"\xc3\x01" + b"\x00" * 8 + GOOD[10:], "unknown_schema", None),
    (b"\x00\x00\x00\x00\x63" + GOOD[10:], "unknown_schema", None),
    (GOOD + b"\x00" * (MAX_RECORD_BYTES + 1 - len(GOOD)), "too_large", None),
    (event("x", meter="nothing"), "unknown_meter", b"meter"),
    (event("x", quantity=-1), "negative_without_reason", b"reason"),
    (event("x", quantity=-1, reason="  "), "negative_without_reason", b"reason"),
    (event(""), "bad_field", b"id"),
    (event("x", customer="a\0b"), "bad_field", b"customer"),
    (event("x", quantity=10**15), "bad_field", b"quantity"),
    (event("x", corrects="y"), "bad_field", b"corrects"),
    (event("x", BEGIN_MS + 5 * MINUTE_MS + 1), "time_in_future", b"event_time"),
    # The order of the reasons: fields before the catalogue, the catalogue before the clock.
    (event("", meter="nothing"), "bad_field", b"id"),
    (event("x", BEGIN_MS + HOUR_MS, meter="nothing"), "unknown_meter", b"meter"),
]


@pytest.mark.parametrize(("content", "reason", "field"), REFUSED)
def test_refused_records_keep_their_bytes_and_say_why(content: object, reason: str, field: bytes | None) -> None:
    """Original key, bytes and headers; the reason, the place in the source, and what Kafka tools look for."""
    refused = record(41, content, headers=(("trace", b"t1"),))  # type: ignore[arg-type]
    decided = decide(Partition(2, 41), [refused])
    (output,) = decided.outputs
    headers = dict(output.headers)
    assert (output.route.value, output.key, output.value) == ("rejected", refused.key, refused.value)
    assert headers["trueup-reason"] == reason.encode()
    assert headers["trueup-source"] == b"2:41"
    assert headers["trueup-arrival"] == str(BEGIN_MS).encode()
    assert headers["trace"] == b"t1"
    assert headers.get("trueup-field") == field
    assert headers["__connect.errors.topic"] == TOPIC.encode()
    assert headers["__connect.errors.partition"] == b"2"
    assert headers["__connect.errors.offset"] == b"41"
    assert headers["__connect.errors.exception.message"]
    assert decided.progress.refused.events == decided.progress.arrived.events == 1
    assert decided.progress.new_ids == ()


def test_five_minutes_ahead_is_let_through() -> None:
    """The tolerance itself is still allowed."""
    records = [record(0, event("x", BEGIN_MS + 5 * MINUTE_MS))]
    assert outcomes(records, decide(Partition(0, 0), records).outputs) == ["on_time"]


def test_exactly_64_kib_is_let_through() -> None:
    """The cap counts bytes over, not bytes at."""
    bare = len(encode_event(event("x", dimensions={"k": ""})))
    records = [record(0, event("x", dimensions={"k": "v" * (MAX_RECORD_BYTES - bare - 2)}))]
    assert len(records[0].value or b"") == MAX_RECORD_BYTES
    assert outcomes(records, decide(Partition(0, 0), records).outputs) == ["on_time"]


def test_a_refused_event_leaves_no_id_so_its_redrive_is_no_duplicate() -> None:
    """What was refused for its meter is taken once the catalogue knows it."""
    timeline = TIMELINE.with_version(2, BEGIN_MS, parse(SECOND))
    later = BEGIN_MS + HOUR_MS
    records = [record(0, event("a", later, meter="runs")), record(1, event("a", later, meter="runs"), later)]
    records[0] = records[0]._replace(value=encode_event(event("a", BEGIN_MS, meter="runs")))
    records[1] = records[1]._replace(value=records[0].value)
    assert outcomes(records, decide(Partition(0, 0), records, timeline).outputs) == ["unknown_meter", "late"]


def test_the_other_framing_of_equal_values_is_a_duplicate_and_of_unequal_ones_a_suspect() -> None:
    """What is compared is the body, not how it says which schema wrote it."""
    records = [
        record(0, event("a")),
        record(1, event("a"), framing=Framing.CONFLUENT),
        record(2, event("a", quantity=6), framing=Framing.CONFLUENT),
    ]
    decided = decide(Partition(0, 0), records)
    assert outcomes(records, decided.outputs) == ["on_time", "dropped", "on_time suspect"]
    remembered = dict(decided.outputs[1].headers)["trueup-suspect"]
    assert remembered == record_hash(records[0].value or b"").hex().encode()
    assert decided.progress.suspect_events == 1


def test_one_id_of_two_sources_is_two_events() -> None:
    """An identity is a pair, and its parts do not run into each other."""
    records = [record(0, event("c", source="a|b")), record(1, event("b|c", source="a")), record(2, event("c", source="a"))]
    assert outcomes(records, decide(Partition(0, 0), records).outputs) == ["on_time"] * 3


def test_a_producers_headers_travel_on_except_those_that_speak_in_our_name() -> None:
    """A forged arrival or source would be believed behind this room."""
    forged = (("trueup-arrival", b"1"), ("trace", b"t"), ("__connect.errors.topic", b"x"), ("trueup-suspect", b"00"), ("trace", None))
    decided = decide(Partition(0, 0), [record(0, event("a"), headers=forged), record(1, b"garbage", headers=forged)])
    assert decided.outputs[0].headers == (
        ("trace", b"t"),
        ("trace", None),
        ("trueup-arrival", str(BEGIN_MS).encode()),
        ("trueup-source", b"0:0"),
    )
    names = [name for name, _ in decided.outputs[1].headers]
    assert names.count("trueup-arrival") == 1
    assert names.count("__connect.errors.topic") == 1


def test_a_heavy_envelope_is_refused_and_left_behind() -> None:
    """Else a small event with a megabyte of headers could be written nowhere, and would stop the partition for ever."""
    heavy = record(0, event("a"), headers=(("h", b"x" * 70_000),))
    wide_key = Record(1, BEGIN_MS, b"k" * 70_000, heavy.value)
    decided = decide(Partition(0, 0), [heavy, wide_key])
    assert outcomes([heavy, wide_key], decided.outputs) == ["too_large", "too_large"]
    assert "h" not in dict(decided.outputs[0].headers)
    assert decided.outputs[1].key is None
    assert decided.outputs[0].value == heavy.value


def test_headers_without_name_and_content_weigh_what_they_take() -> None:
    """A million of them are two megabytes: more than any of our topics takes, with a weight of nothing."""
    empty = record(0, event("a"), headers=(("", None),) * 40_000)
    named = record(1, event("b"), headers=(("ü" * 20_000, b""), ("ü" * 20_000, b"")))
    decided = decide(Partition(0, 0), [empty, named])
    assert outcomes([empty, named], decided.outputs) == ["too_large", "too_large"]
    assert not [name for output in decided.outputs for name, _ in output.headers if not name or name.startswith("ü")]


def test_a_value_too_large_for_its_topic_is_cut_and_says_so() -> None:
    """A compressed bomb of 32 MB must be refused, not stop the room."""
    decided = decide(Partition(0, 0), [record(0, b"\x00" * 3_000_000)])
    assert len(decided.outputs[0].value or b"") == MAX_KEPT_BYTES
    assert dict(decided.outputs[0].headers)[HEADER_TRUNCATED] == b"3000000"


def test_the_tallies_conserve_counts_quantities_and_ids() -> None:
    """Arrived is the sum of the four outcomes in each of the three sums."""
    records = [
        record(5, event("a", quantity=3)),
        record(7, event("a", quantity=3)),
        record(8, event("b", BEGIN_MS - HOUR_MS, quantity=10)),
        record(9, event("c", quantity=-4)),
        record(12, b"garbage"),
        record(13, event("a", quantity=4)),
    ]
    progress = decide(Partition(0, 5), records).progress
    a, b, c = (id_sum_term(identity("inference", id)) for id in "abc")
    assert progress.on_time == Tally(2, 7, a + a)
    assert progress.duplicate == Tally(1, 3, a)
    assert progress.late == Tally(1, 10, b)
    assert progress.refused == Tally(2, -4, c + id_sum_term(bytes_identity(b"garbage")))
    assert progress.arrived == Tally(6, 3 + 3 + 10 - 4 + 4, 3 * a + b + c + id_sum_term(bytes_identity(b"garbage")))
    assert (progress.first_offset, progress.next_offset, progress.suspect_events) == (5, 14, 1)
    assert sum(len(ids.packed) for ids in progress.new_ids) == 2 * 24


@pytest.mark.parametrize("lost", ["_forward", "_refuse", "_take_fit"])
def test_a_batch_that_lost_a_record_is_never_written(monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """What arrived is counted before anything is decided: whoever loses a record on the way, the batch is broken and not short."""
    records = [record(0, event("a")), record(1, event("b", quantity=0)), record(2, event("c", quantity=-1))]
    assert decide(Partition(0, 0), records).progress.arrived.events == 3
    monkeypatch.setattr(f"services.dedupe.core.batch._Batch.{lost}", lambda *_: None)
    with pytest.raises(Broken, match=r"of 3 records .* arrived"):
        decide(Partition(0, 0), records)


def test_deciding_changes_nothing_until_it_is_absorbed() -> None:
    """An aborted transaction leaves the memory as it was, so the same batch decides the same again."""
    partition = Partition(0, 0)
    records = [record(0, event("a")), record(1, event("a")), record(2, event("b"))]
    first = apply(partition, records, TIMELINE, DECODER, TOPIC)
    second = apply(partition, records, TIMELINE, DECODER, TOPIC)
    assert first == second
    assert (partition.next_offset, partition.known) == (0, {})


@pytest.mark.parametrize("offsets", [(4, 4), (5, 4), (2, 6)])
def test_records_out_of_order_halt(offsets: tuple[int, int]) -> None:
    """A record that was already decided, or comes before its predecessor, is a broken invariant, not a duplicate."""
    with pytest.raises(Broken):
        decide(Partition(0, 3), [record(offset, event("a")) for offset in offsets])


def test_without_a_catalogue_nothing_is_decided() -> None:
    """The room waits for the first version."""
    with pytest.raises(LookupError):
        decide(Partition(0, 0), [record(0, event("a"))], Timeline())


def test_markers_are_passed_over_by_a_progress_record_over_nothing() -> None:
    """It continues the chain, and nothing is forgotten by it; where nothing ever came it has the date of now."""
    young = Partition(0, 5)
    assert pass_over(young, 9, BEGIN_MS, TIMELINE, TOPIC).progress.last_arrival_ms == BEGIN_MS
    partition = Partition(0, 5)
    decide(partition, [record(5, event("a"))])
    decided = pass_over(partition, 9, BEGIN_MS + 100 * HOUR_MS, TIMELINE, TOPIC)
    assert decided.outputs == ()
    said = decided.progress
    assert (said.first_offset, said.next_offset, said.arrived, said.new_ids) == (6, 9, Tally(0, 0, 0), ())
    assert said.last_arrival_ms == partition.newest_arrival_ms
    partition.absorb(said)
    assert decide(partition, [record(9, event("a"))]).progress.duplicate.events == 1
