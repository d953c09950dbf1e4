"""The codec: what is written is read again, and the frames say which schema wrote it."""

import pytest
from hypothesis import given

from tests.unit.contracts.usage_records import FRAME, events, record
from trueup.contracts import codec, keys
from trueup.contracts.errors import Poison
from trueup.contracts.events import Refusal, RefusalReason, UsageEvent
from trueup.contracts.plain_event import read_plain_event
from trueup.contracts.progress import ZERO, ProgressRecord, Tally

DECODER = codec.Decoder({7: codec.USAGE_EVENT, 2**32 - 1: codec.USAGE_EVENT})


@given(events)
def test_round_trip_in_both_framings(event: UsageEvent) -> None:
    """Whatever an event says comes back, and the hash that dedupe compares does not depend on the framing."""
    single = codec.encode_event(event)
    confluent = codec.encode_event(event, codec.Framing.CONFLUENT, 7)
    assert DECODER.decode_batch([single, confluent]) == [event, event]
    assert keys.record_hash(single) == keys.record_hash(confluent)


@given(events)
def test_the_one_pass_and_the_general_decoder_agree(event: UsageEvent) -> None:
    """Two readers, one answer."""
    body = codec.encode_event(event)[10:]
    assert codec.decode_strictly(body, codec.schema(codec.USAGE_EVENT)) == event
    assert read_plain_event(body) in (event, None)


def test_the_common_shape_takes_the_one_pass() -> None:
    """Otherwise every figure for its speed would be about something else."""
    assert codec.schema(codec.USAGE_EVENT).is_plain
    assert read_plain_event(record()[10:]) == DECODER.decode(record())


def test_the_single_object_frame() -> None:
    """C3 01, then the CRC-64-AVRO of the canonical form, least significant byte first."""
    event = DECODER.decode(record())
    assert isinstance(event, UsageEvent)
    assert codec.encode_event(event)[:10] == FRAME
    assert codec.encode_event(event) == record()


def test_the_confluent_frame() -> None:
    """A zero byte, then the id in network order, the largest one included."""
    event = DECODER.decode(record())
    assert isinstance(event, UsageEvent)
    assert codec.encode_event(event, codec.Framing.CONFLUENT, 7)[:5] == b"\0\0\0\0\x07"
    assert DECODER.decode(b"\0\xff\xff\xff\xff" + record()[10:]) == event


def test_the_confluent_frame_needs_an_id() -> None:
    """The registry's id can't be guessed."""
    event = DECODER.decode(record())
    assert isinstance(event, UsageEvent)
    with pytest.raises(ValueError, match="needs a schema id"):
        codec.encode_event(event, codec.Framing.CONFLUENT)


def test_only_pinned_schemas_can_be_mapped() -> None:
    """A wrong mapping is found when the room starts, not at the first record."""
    with pytest.raises(ValueError, match="pinned are usage_event"):
        codec.Decoder({1: "usage_progress"})


def test_no_registry_id_is_known_by_itself() -> None:
    """Without configuration the Confluent framing is an unknown schema."""
    refusal = codec.Decoder().decode(b"\0\0\0\0\x07" + record()[10:])
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.UNKNOWN_SCHEMA
    assert "id 7" in refusal.detail


def test_an_unknown_fingerprint_is_named_as_people_write_it() -> None:
    """Most significant digit first, as the registries of schemas show it."""
    refusal = DECODER.decode(b"\xc3\x01" + bytes(range(8)) + record()[10:])
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.UNKNOWN_SCHEMA
    assert "0706050403020100" in refusal.detail


def test_a_progress_record_is_no_usage_event() -> None:
    """Our own records on the wrong topic are an unknown schema there."""
    progress = codec.encode_progress(ProgressRecord(0, 0, 1, 1, 0, ZERO, ZERO, ZERO, ZERO, ZERO, 0, ()))
    refusal = DECODER.decode(progress)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.UNKNOWN_SCHEMA


@pytest.mark.parametrize(
    "spoil", [lambda good: b"", lambda good: good[:-1], lambda good: good + b"\0", lambda good: b"\xc3\x02" + good[2:]]
)
def test_our_own_records_are_read_with_the_same_care(spoil: object) -> None:
    """A progress record that is cut, followed by something, or framed otherwise is poison."""
    good = codec.encode_progress(ProgressRecord(0, 0, 1, 1, 0, Tally(1, 10**20, 2), ZERO, ZERO, ZERO, Tally(1, 10**20, 2), 0, ()))
    for spoilt in (b"", good[:-1], good + b"\0", b"\xc3\x02" + good[2:]):
        with pytest.raises(Poison):
            codec.decode_progress(spoilt)


def test_quantity_sums_beyond_a_long_survive() -> None:
    """10,000 events of 15 digits exceed 64 bits."""
    tally = Tally(10_000, -(10**19) + 1, 2**61)
    decoded = codec.decode_progress(codec.encode_progress(ProgressRecord(0, 0, 1, 1, 0, tally, tally, ZERO, ZERO, ZERO, 0, ())))
    assert decoded.arrived == tally
    assert decoded.arrived + decoded.on_time == Tally(20_000, 2 * tally.quantity, 2**62)
