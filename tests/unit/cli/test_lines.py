"""What `events send` accepts and refuses, line by line."""

from __future__ import annotations

import json

import pytest

from trueup.cli.lines import Accepted, RefusedLine, instant_ms, read_jsonl, shifted

SCALES = {"input_tokens": 0, "audio_seconds": 3}
WHOLE = {"id": "r-1", "source": "inference", "customer": "acme", "meter": "input_tokens", "value": 374, "time": "2026-10-05T08:00:00Z"}


def one(**changes: object) -> Accepted | RefusedLine:
    """The verdict on one line that differs from a right one in these fields."""
    line = json.dumps({name: value for name, value in {**WHOLE, **changes}.items() if value is not ...})
    (verdict,) = read_jsonl([line.encode()], SCALES)
    return verdict


def test_a_whole_line_is_accepted_in_the_smallest_unit() -> None:
    """A value is in the meter's unit; what travels is an integer of its smallest unit."""
    verdict = one(meter="audio_seconds", value="12.5")
    assert isinstance(verdict, Accepted)
    assert verdict.event.quantity == 12_500
    assert verdict.event.event_time_ms == 1_791_187_200_000


@pytest.mark.parametrize(
    ("changes", "reason", "word"),
    [
        ({"value": 1.5}, "bad_field", "float"),
        ({"value": 1e3}, "bad_field", "float"),
        ({"value": True}, "bad_field", "value"),
        ({"value": None}, "bad_field", "value"),
        ({"value": "1.5"}, "bad_field", "decimal places"),
        ({"value": "1e3"}, "bad_field", "decimal"),
        ({"meter": "audio_seconds", "value": "0.0005"}, "bad_field", "decimal places"),
        ({"value": 10**15}, "bad_field", "digits"),
        ({"meter": "teleports"}, "unknown_meter", "teleports"),
        ({"value": -1}, "negative_without_reason", "reason"),
        ({"id": ""}, "bad_field", "id"),
        ({"id": "a\0b"}, "bad_field", "NUL"),
        ({"id": 7}, "bad_field", "id"),
        ({"customer": "c" * 256}, "bad_field", "customer"),
        ({"time": "2026-10-05T08:00:00"}, "bad_field", "offset"),
        ({"time": 1_791_187_200}, "bad_field", "time"),
        ({"time": "2026-10-05T08:00:00+24:00"}, "bad_field", "its offset from UTC does not exist"),
        ({"time": "2026-02-30T08:00:00Z"}, "bad_field", "does not exist"),
        ({"time": ...}, "bad_field", "missing"),
        ({"colour": "red"}, "bad_field", "colour"),
        ({"dimensions": {"model": 3}}, "bad_field", "dimensions"),
        ({"corrects": "r-0"}, "bad_field", "negative"),
    ],
)
def test_a_wrong_line_is_refused_with_its_reason(changes: dict[str, object], reason: str, word: str) -> None:
    """The reason is from the closed list, the sentence names what is wrong."""
    verdict = one(**changes)
    assert isinstance(verdict, RefusedLine)
    assert verdict.reason == reason
    assert word in verdict.detail


def test_a_number_that_nobody_can_read_is_told_by_its_length() -> None:
    """Python's own sentence would tell a person to set an option of Python's."""
    (verdict,) = read_jsonl([json.dumps({**WHOLE, "value": 0}).replace('"value": 0', f'"value": {"9" * 5_000}').encode()], SCALES)
    assert isinstance(verdict, RefusedLine)
    assert (verdict.reason, verdict.detail) == ("bad_field", "a number of 5000 digits is no quantity of ours")


def test_a_refund_says_why_and_what_it_takes_back() -> None:
    """Negative with a reason is an event like any other."""
    verdict = one(value="-374", reason="failed_run", corrects="r-0")
    assert isinstance(verdict, Accepted)
    assert (verdict.event.quantity, verdict.event.corrects) == (-374, "r-0")


def test_lines_keep_their_numbers_over_blank_ones_and_a_byte_order_mark() -> None:
    """The number that is printed is the one an editor shows."""
    good = json.dumps(WHOLE).encode()
    verdicts = list(read_jsonl([b"\xef\xbb\xbf" + good, b"\r\n", b"nonsense\n", b'{"id": "\xff"}', b"[1]", b'{"id":"a","id":"b"}'], SCALES))
    assert [(type(v).__name__, v.line) for v in verdicts] == [
        ("Accepted", 1),
        ("RefusedLine", 3),
        ("RefusedLine", 4),
        ("RefusedLine", 5),
        ("RefusedLine", 6),
    ]
    assert [v.reason for v in verdicts[1:] if isinstance(v, RefusedLine)] == ["undecodable", "undecodable", "undecodable", "bad_field"]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2023-11-16 18:15:46.6805900", 1_700_158_546_680),
        ("2023-11-16T18:15:46Z", 1_700_158_546_000),
        ("2023-11-16T19:15:46.9999999+01:00", 1_700_158_546_999),
        ("1969-12-31T23:59:59.5Z", -500),
    ],
)
def test_instants_of_any_precision_are_rounded_down(text: str, milliseconds: int) -> None:
    """100-ns digits are cut off, not rounded up into the next window."""
    assert instant_ms(text, utc_by_default=True) == milliseconds


def test_shift_moves_all_by_the_same_amount_so_that_the_newest_ends_now() -> None:
    """Distances between events stay; refused lines stay where they are."""
    lines = [json.dumps({**WHOLE, "id": f"r-{n}", "time": f"2026-10-05T08:0{n}:00Z"}).encode() for n in range(3)] + [b"nonsense"]
    moved = shifted(read_jsonl(lines, SCALES), now_ms=2_000_000_000_000)
    times = [item.event.event_time_ms for item in moved if isinstance(item, Accepted)]
    assert times == [2_000_000_000_000 - 120_000, 2_000_000_000_000 - 60_000, 2_000_000_000_000]
    assert isinstance(moved[3], RefusedLine)
