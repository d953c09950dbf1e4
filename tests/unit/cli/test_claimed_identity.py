"""The front of a record that nobody could read whole: it is found again by its name, and no record is given a name that it has not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trueup.cli.claimed_identity import ClaimedIdentity, claimed_identity
from trueup.cli.source_scan import stated_by
from trueup.contracts.codec import MAX_RECORD_BYTES, SINGLE_OBJECT_MARKER, Decoder, Framing, encode_event
from trueup.contracts.events import Refusal, RefusalReason, UsageEvent

EVENT = UsageEvent("request-1", "inference", 1_700_000_000_000, "input_tokens", "acme", 374, None, None, {})
WHOLE = encode_event(EVENT)
IN_CONFLUENT = encode_event(EVENT, Framing.CONFLUENT, 7)
NAMED = ClaimedIdentity("inference", "request-1")

names = some.text(some.characters(exclude_categories=("Cs",)), max_size=255)
events = some.builds(
    UsageEvent,
    names,
    names,
    some.integers(-(2**63), 2**63 - 1),
    names,
    names,
    some.integers(-(2**63), 2**63 - 1),
    some.none() | names,
    some.none() | names,
    some.dictionaries(names, names, max_size=3),
)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (WHOLE + bytes(MAX_RECORD_BYTES), RefusalReason.TOO_LARGE),
        (SINGLE_OBJECT_MARKER + bytes(8) + WHOLE[10:], RefusalReason.UNKNOWN_SCHEMA),
        (IN_CONFLUENT, RefusalReason.UNKNOWN_SCHEMA),
        (WHOLE + b"\x00", RefusalReason.UNDECODABLE),
        (WHOLE[:-3], RefusalReason.UNDECODABLE),
        (WHOLE[:10] + b"\x92\x00" + WHOLE[11:], RefusalReason.UNDECODABLE),
    ],
    ids=["over 64 KiB", "unknown fingerprint", "unknown registry id", "a byte too many", "cut off", "a length in too many bytes"],
)
def test_a_record_refused_as_a_whole_is_found_by_its_front(value: bytes, reason: RefusalReason) -> None:
    """Nothing of it counts; its name is what it claims."""
    verdict = Decoder().decode(value)
    assert isinstance(verdict, Refusal)
    assert verdict.reason is reason
    assert claimed_identity(value) == NAMED
    assert stated_by(value, Decoder(), "inference", "request-1") == NAMED
    assert stated_by(value, Decoder(), "inference", "request-2") is None
    assert stated_by(value, Decoder(), "request-1", "inference") is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xffgarbage",
        b"\x00\x00\x00\x00\x07",
        SINGLE_OBJECT_MARKER,
        WHOLE[:10] + b"\xff" * 40,
        WHOLE[:10] + b"\x01" + WHOLE[11:],
        WHOLE[:10] + b"\x04\xff\xfe\x02a",
        WHOLE[:14],
        WHOLE[:10] + (2 * 1021).to_bytes(2, "little") + b"a" * 4_000,
    ],
)
def test_garbage_has_no_name(value: bytes) -> None:
    """No framing, no length, a negative one, no UTF-8, a text that goes on behind the end."""
    assert claimed_identity(value) is None


@given(value=some.binary(max_size=200) | some.builds(lambda body: WHOLE[:10] + body, some.binary(max_size=80)))
def test_no_bytes_at_all_make_it_fail(value: bytes) -> None:
    """Two texts that stand in the bytes, or nothing."""
    claimed = claimed_identity(value)
    if claimed is not None:
        assert claimed.id.encode() in value
        assert claimed.source.encode() in value


@given(event=events, confluent=some.booleans(), cut=some.integers(0, 200))
def test_a_good_record_has_its_own_name_and_its_front_no_other(event: UsageEvent, confluent: bool, cut: int) -> None:
    """Whole, or broken off anywhere: the true identity or none."""
    value = encode_event(event, Framing.CONFLUENT, 7) if confluent else encode_event(event)
    truth = ClaimedIdentity(event.source, event.id)
    assert claimed_identity(value) == truth
    assert claimed_identity(value[: len(value) - min(cut, len(value))]) in (truth, None)
    assert stated_by(value, Decoder({7: "usage_event"}), event.source, event.id) == event
