"""Bytes that nobody honest would send: each has its verdict, and none raises, hangs or passes for another event."""

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.contracts.usage_records import FRAME, PARTS, events, record, records, text, varint
from trueup.contracts import codec
from trueup.contracts.events import Refusal, RefusalReason, UsageEvent, check_fields
from trueup.contracts.plain_event import read_plain_event

DECODER = codec.Decoder({7: codec.USAGE_EVENT})
UNDECODABLE, TOO_LARGE, UNKNOWN = RefusalReason.UNDECODABLE, RefusalReason.TOO_LARGE, RefusalReason.UNKNOWN_SCHEMA


def padded_to(size: int) -> bytes:
    """Make a good record of exactly this many bytes, most of them in one dimension."""
    without = len(record(dimensions=varint(1) + text("pad") + varint(20_000) + varint(0)))
    made = record(dimensions=varint(1) + text("pad") + text("x" * (size - without)) + varint(0))
    assert len(made) == size
    return made


def test_the_corpus_is_built_on_a_good_record() -> None:
    """Each hostile record differs from one that is accepted, so that it fails for what it is about."""
    assert isinstance(DECODER.decode(record()), UsageEvent)


CORPUS: list[tuple[str, bytes | None, RefusalReason]] = [
    # What is no record at all.
    ("no value", None, UNDECODABLE),
    ("empty", b"", UNDECODABLE),
    ("one byte", b"\xc3", UNDECODABLE),
    ("a lone zero", b"\0", UNDECODABLE),
    ("JSON", json.dumps({"id": "req-1"}).encode(), UNDECODABLE),
    ("text", "Ünïcode".encode("utf-16"), UNDECODABLE),
    ("an Avro container file", b"Obj\x01" + bytes(40), UNDECODABLE),
    # Framing.
    ("a marker alone", b"\xc3\x01", UNDECODABLE),
    ("half a fingerprint", FRAME[:6], UNDECODABLE),
    ("a frame alone", FRAME, UNDECODABLE),
    ("the other single-object version", b"\xc3\x02" + record()[2:], UNDECODABLE),
    ("no frame", record()[10:], UNDECODABLE),
    ("fingerprint turned round", b"\xc3\x01" + FRAME[:1:-1] + record()[10:], UNKNOWN),
    ("framed twice", FRAME + record(), UNDECODABLE),
    ("Confluent, three bytes of id", b"\0\0\0\x07", UNDECODABLE),
    ("Confluent, unknown id", b"\0\0\0\0\x08" + record()[10:], UNKNOWN),
    ("Confluent, negative id", b"\0\xff\xff\xff\xff" + record()[10:], UNKNOWN),
    ("Confluent, id turned round", b"\0\x07\0\0\0" + record()[10:], UNKNOWN),
    ("Confluent, no body", b"\0\0\0\0\x07", UNDECODABLE),
    ("Confluent with protobuf's message indexes", b"\0\0\0\0\x07\0" + record()[10:], UNDECODABLE),
    # Too many or too few bytes.
    ("a trailing byte", record() + b"\0", UNDECODABLE),
    ("two records glued", record() + record(), UNDECODABLE),
    ("a good front with a broken tail", record()[:-3] + b"\xff\xff\xff", UNDECODABLE),
    # Varints and lengths.
    ("over-long varint", record(quantity=varint(374, spare_bytes=1)), UNDECODABLE),
    ("over-long length", record(id=varint(5, spare_bytes=1) + b"req-1"), UNDECODABLE),
    ("over-long zero", record(quantity=b"\x80\x00"), UNDECODABLE),
    ("varint of 41 bytes", record(quantity=b"\x80" * 40 + b"\x01"), UNDECODABLE),
    ("varint of 10 bytes beyond 64 bits", record(quantity=b"\xff" * 9 + b"\x7f"), UNDECODABLE),
    ("varint of 11 bytes", record(quantity=b"\xff" * 10 + b"\x01"), UNDECODABLE),
    ("varint of 20 bytes as a time", record(event_time=b"\xff" * 19 + b"\x01"), UNDECODABLE),
    ("varint of 10 bytes, 2^63", record(quantity=b"\x80" * 9 + b"\x02"), UNDECODABLE),
    ("varint that never ends", record(quantity=b"\xff" * 200), UNDECODABLE),
    ("negative length", record(id=varint(-5) + b"req-1"), UNDECODABLE),
    ("length -1", record(id=varint(-1)), UNDECODABLE),
    ("length of 2 GB", record(id=varint(2**31) + b"req-1"), UNDECODABLE),
    ("length of 2^62", record(id=varint(2**62) + b"req-1"), UNDECODABLE),
    ("least length there is", record(id=varint(-(2**63)) + b"req-1"), UNDECODABLE),
    # Texts.
    ("no UTF-8", record(id=text(b"\xff\xfe")), UNDECODABLE),
    ("lone surrogate", record(id=text(b"\xed\xa0\x80")), UNDECODABLE),
    ("over-long UTF-8", record(id=text(b"\xc0\xaf")), UNDECODABLE),
    ("half a character", record(id=text(b"\xe2\x82")), UNDECODABLE),
    ("no UTF-8 in a dimension", record(dimensions=varint(1) + text("a") + text(b"\xff") + varint(0)), UNDECODABLE),
    # Unions.
    ("union branch -1", record(reason=varint(-1)), UNDECODABLE),
    ("union branch -1 with a text", record(reason=varint(-1) + text("r")), UNDECODABLE),
    ("union branch -2", record(reason=varint(-2)), UNDECODABLE),
    ("union branch 2", record(reason=varint(2)), UNDECODABLE),
    ("union branch 7", record(corrects=varint(7) + text("x")), UNDECODABLE),
    ("union branch 2^62", record(corrects=varint(2**62)), UNDECODABLE),
    ("union branch 1 in two bytes", record(reason=b"\x82\x00" + text("r")), UNDECODABLE),
    # Maps.
    ("map of 10^9 entries", record(dimensions=varint(10**9)), UNDECODABLE),
    ("map of 2^62 entries", record(dimensions=varint(2**62)), UNDECODABLE),
    ("map of -2^63 entries", record(dimensions=varint(-(2**63)) + varint(0)), UNDECODABLE),
    ("map block with its size", record(dimensions=varint(-1) + varint(4) + text("a") + text("b") + varint(0)), UNDECODABLE),
    ("map of one entry in two blocks", record(dimensions=(varint(1) + text("a") + text("b")) * 2 + varint(0)), UNDECODABLE),
    ("map of two blocks", record(dimensions=varint(1) + text("a") * 2 + varint(1) + text("b") * 2 + varint(0)), UNDECODABLE),
    ("map with a name twice", record(dimensions=varint(2) + text("a") + text("b") + text("a") + text("c") + varint(0)), UNDECODABLE),
    ("map without an end", record(dimensions=varint(1) + text("a") + text("b")), UNDECODABLE),
    ("map of empty names", record(dimensions=varint(20_000) + b"\0" * 40_001), UNDECODABLE),
    # Size: judged before anything looks inside.
    ("64 KiB + 1, otherwise good", padded_to(codec.MAX_RECORD_BYTES + 1), TOO_LARGE),
    ("64 KiB + 1 of rubbish", b"\xff" * (codec.MAX_RECORD_BYTES + 1), TOO_LARGE),
    ("64 KiB + 1 of an unknown schema", b"\xc3\x01" + bytes(codec.MAX_RECORD_BYTES - 1), TOO_LARGE),
    ("1 MB text", record(id=text("x" * 1_000_000)), TOO_LARGE),
    ("64 KiB of zeros", bytes(codec.MAX_RECORD_BYTES), UNKNOWN),
    ("64 KiB that open a list in a list", FRAME + b"\x02" * (codec.MAX_RECORD_BYTES - 10), UNDECODABLE),
]


@pytest.mark.parametrize(("value", "reason"), [pytest.param(value, reason, id=name) for name, value, reason in CORPUS])
def test_verdict(value: bytes | None, reason: RefusalReason) -> None:
    """Refused, for the reason that fits, with a sentence, and at once."""
    started = time.process_time()
    refusal = DECODER.decode(value)
    assert time.process_time() - started < 0.5
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.field) == (reason, None)
    assert 0 < len(refusal.detail) <= 300


def test_64_kib_is_still_read() -> None:
    """The cap itself is allowed."""
    event = DECODER.decode(padded_to(codec.MAX_RECORD_BYTES))
    assert isinstance(event, UsageEvent)
    assert check_fields(event) is None


@pytest.mark.parametrize("field", [name for name in PARTS if name not in ("event_time", "quantity")])
def test_nul_is_read_and_then_refused(field: str) -> None:
    """A NUL is good Avro and no good Postgres text: the codec gives the event, the field check refuses it."""
    nul = text("a\0b")
    forms = {"reason": varint(1) + nul, "corrects": varint(1) + nul, "dimensions": varint(1) + nul + nul + varint(0)}
    event = DECODER.decode(record(quantity=varint(-1), **({"reason": varint(1) + text("r")} | {field: forms.get(field, nul)})))
    assert isinstance(event, UsageEvent)
    refusal = check_fields(event)
    assert refusal is not None
    assert (refusal.reason, refusal.field) == (RefusalReason.BAD_FIELD, field)


def judge(value: bytes) -> UsageEvent | None:
    """Demand the law for any bytes: a refusal, or an event whose bytes are these and no others; both readers agree."""
    answer = DECODER.decode(value)
    body = value[10:] if value[:10] == FRAME else value[5:]
    framed = value[:10] == FRAME or value[:5] == b"\0\0\0\0\x07"
    if not framed or len(value) > codec.MAX_RECORD_BYTES:
        assert isinstance(answer, Refusal)
        return None
    assert codec.decode_strictly(body, codec.schema(codec.USAGE_EVENT)) == answer
    if isinstance(answer, Refusal):
        assert read_plain_event(body) is None
        return None
    framing = codec.Framing.SINGLE_OBJECT if value[:10] == FRAME else codec.Framing.CONFLUENT
    assert codec.encode_event(answer, framing, 7) == value
    assert check_fields(answer) is None or isinstance(check_fields(answer), Refusal)
    return answer


VALID = [
    record(),
    record(quantity=varint(-374), reason=varint(1) + text("failed_run"), corrects=varint(1) + text("req-0")),
    record(dimensions=varint(2) + text("model") + text("large") + text("région") + text("eu") + varint(0)),
    record(id=text("i" * 64), quantity=varint(2**63 - 1)),
    b"\0\0\0\0\x07" + record()[10:],
]


@pytest.mark.parametrize("valid", VALID)
def test_every_bit_flip(valid: bytes) -> None:
    """No flipped bit gives an event that says the same, nor one whose bytes are others."""
    original = judge(valid)
    assert original is not None
    for bit in range(len(valid) * 8):
        flipped = bytearray(valid)
        flipped[bit // 8] ^= 1 << bit % 8
        assert judge(bytes(flipped)) != original


@pytest.mark.parametrize("valid", VALID)
def test_every_truncation(valid: bytes) -> None:
    """No front of a record is a record."""
    for length in range(len(valid)):
        assert judge(valid[:length]) is None


@pytest.mark.parametrize("valid", VALID)
def test_every_byte_put_in_or_left_out(valid: bytes) -> None:
    """Slips of one byte anywhere."""
    for at in range(len(valid)):
        judge(valid[:at] + valid[at + 1 :])
        for byte in (b"\0", b"\x01", b"\x02", b"\x80", b"\xff"):
            judge(valid[:at] + byte + valid[at:])


@pytest.mark.parametrize(
    ("field", "before", "after"),
    [(name, b"", b"") for name in ("id", "source", "meter", "customer")]
    + [(name, b"\x02", b"") for name in ("reason", "corrects")]
    + [("dimensions", b"\x02", b"\0\0"), ("dimensions", b"\x02\x02a", b"\0")],
)
def test_a_long_text_is_not_read_as_a_short_one(field: str, before: bytes, after: bytes) -> None:
    """A length in two bytes whose first, taken alone, would give another text that ends where the next field begins."""
    judge(record(**{field: before + b"\x82\x02" + b"x" * 64 + after}))
    assert judge(record(**{field: before + b"\x82\x02" + b"x" * 129 + after})) is not None


def test_a_large_map_is_not_read_as_a_small_one() -> None:
    """A count in two bytes whose first, taken alone, would give 65 dimensions that end where the map does."""
    names = [chr(0x100 + number) for number in range(65)]
    seeming = b"\x02\x02a" + b"".join(text(name) + b"\0" for name in names)
    judge(record(dimensions=b"\x82" + seeming + b"\0"))
    judge(record(dimensions=b"\x82\x02a\0" + b"".join(text(name) + b"\0" for name in names[1:]) + b"\0"))


@given(st.binary(max_size=200))
def test_any_bytes(value: bytes) -> None:
    """Bytes from nowhere."""
    judge(value)


@given(st.binary(max_size=200), st.sampled_from([FRAME, b"\0\0\0\0\x07", b"\xc3\x01", b"\0"]))
def test_any_body(body: bytes, frame: bytes) -> None:
    """Bytes from nowhere behind a frame that is known."""
    judge(frame + body)


@given(records, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_spoilt_records(value: bytes, changes: list[tuple[int, int]]) -> None:
    """Good records with up to four bytes changed."""
    spoilt = bytearray(value)
    for at, byte in changes:
        spoilt[at % len(spoilt)] = byte
    judge(bytes(spoilt))


small_numbers = st.one_of(st.integers(-70, 70), st.sampled_from([2**31, -(2**31), 2**62, -(2**63), 2**63 - 1]))
pieces = st.one_of(st.builds(varint, small_numbers, st.integers(0, 2)), st.text(max_size=3).map(text), st.binary(max_size=3))


@given(st.fixed_dictionaries({}, optional={name: st.lists(pieces, max_size=4).map(b"".join) for name in PARTS}))
def test_records_with_strange_parts(parts: dict[str, bytes]) -> None:
    """Every part replaced by things that look like Avro."""
    judge(record(**parts))


@pytest.mark.parametrize("field", ["id", "event_time", "quantity", "reason", "dimensions"])
@pytest.mark.parametrize("begun", [b"\x80", b"\x81", b"\xff"])
def test_varints_of_every_length(field: str, begun: bytes) -> None:
    """Around the ten bytes that a long may take, both readers agree, and no number leaves 64 bits."""
    for length in range(13):
        for last in range(0x80):
            event = judge(record(**{field: begun * length + bytes([last])}))
            assert event is None or max(abs(2 * event.quantity + 1), abs(2 * event.event_time_ms + 1)) < 2**64


@given(events, events)
def test_no_two_events_share_bytes(one: UsageEvent, other: UsageEvent) -> None:
    """Equal bytes mean equal events, and equal events have equal bytes unless their dimensions are written in another order."""
    same_order = list(one.dimensions) == list(other.dimensions)
    assert (codec.encode_event(one) == codec.encode_event(other)) == (one == other and same_order)
    turned = replace(one, dimensions=dict(reversed(list(one.dimensions.items()))))
    assert DECODER.decode(codec.encode_event(turned)) == one
