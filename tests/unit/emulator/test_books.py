"""The books beside a sum over a list: whatever range is asked for, and however little is visible."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from devstack.stripe_emulator.books import Books, Event, Visible, lag_fraction, plain

_EVENTS = st.lists(
    st.tuples(st.integers(0, 20_000), st.decimals(-1000, 1000, places=4), st.integers(0, 100)),
    max_size=40,
)


def received_until(instant_ms: int) -> Visible:
    """Let only what was received until an instant be visible."""
    return lambda event: event.received_ms <= instant_ms


@given(events=_EVENTS, ranges=st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 20_000), st.integers(0, 100)), max_size=6))
def test_ranges_add_up_whatever_is_visible(events: list[tuple[int, Decimal, int]], ranges: list[tuple[int, int, int]]) -> None:
    """Running totals, ragged ends and pending events give what a plain loop gives; what was seen once stays seen."""
    books = Books()
    for number, (timestamp, value, received_ms) in enumerate(events):
        books.count("mtr", "cus", str(number), value, timestamp, received_ms)
    lane = books.lane("mtr", "cus")
    if lane is None:
        assert not events
        return
    latest = 0
    for start, length, now_ms in sorted(ranges, key=lambda asked: asked[2]):
        latest = max(latest, now_ms)
        total = lane.aggregate(start, start + length, received_until(latest), listed=True)
        expected = [value for timestamp, value, received_ms in events if start <= timestamp < start + length and received_ms <= latest]
        assert (total.count, total.sum) == (len(expected), sum(expected, Decimal(0)))
        assert sorted(event.value for event in total.events) == sorted(expected)
        for listed in (True, False):
            received = lane.received(start, start + length, now_ms, listed=listed)
            before = [value for timestamp, value, at in events if start <= timestamp < start + length and at < now_ms]
            assert (received.count, received.sum) == (len(before), sum(before, Decimal(0)))
            assert lane.received(start, start + length, None, listed=listed).count == sum(
                start <= timestamp < start + length for timestamp, _, _ in events
            )


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=12))
def test_plain_notation_keeps_the_value(value: Decimal) -> None:
    """No exponent, no needless zero, no minus on nothing."""
    text = plain(value)
    assert Decimal(text) == value
    assert "E" not in text.upper()
    assert text == "0" if value == 0 else not text.endswith(".") and not ("." in text and text.endswith("0"))


def test_lags_are_spread_and_repeatable() -> None:
    """The share of an event depends on the seed and on itself only."""
    shares = [lag_fraction(1, str(number), 0) for number in range(1000)]
    assert shares == [lag_fraction(1, str(number), 0) for number in range(1000)]
    assert 0.45 < sum(shares) / len(shares) < 0.55
    assert shares[:5] != [lag_fraction(2, str(number), 0) for number in range(5)]
    assert Event("a", Decimal(1), 0, 0, 0).value == 1
