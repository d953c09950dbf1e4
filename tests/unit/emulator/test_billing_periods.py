"""Billing periods: months of all lengths, without a gap."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.stripe_emulator.billing_periods import anniversary, period_at

_INTERVALS = st.tuples(st.sampled_from(["day", "week", "month", "year"]), st.integers(1, 4))


def instant(text: str) -> int:
    """Read a UTC date as unix seconds."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp())


@pytest.mark.parametrize(
    ("anchor", "now", "start", "end"),
    [
        ("2026-10-01", "2026-10-31T23:59:59", "2026-10-01", "2026-11-01"),
        ("2026-10-01", "2026-11-01", "2026-11-01", "2026-12-01"),
        ("2026-01-31T10:00:00", "2026-02-28T10:00:00", "2026-02-28T10:00:00", "2026-03-31T10:00:00"),
        ("2026-01-31T10:00:00", "2026-02-28T09:59:59", "2026-01-31T10:00:00", "2026-02-28T10:00:00"),
        ("2024-02-29", "2026-01-15", "2025-12-29", "2026-01-29"),
    ],
)
def test_months_end_on_the_day_of_the_anchor(anchor: str, now: str, start: str, end: str) -> None:
    """Stripe's rule: where a month lacks the anchor's day, its last day stands in, and the day comes back afterwards."""
    period = period_at(instant(now), instant(anchor), instant(anchor), "month", 1)
    assert period == (instant(start), instant(end))


@given(
    anchor=st.integers(0, 2**31),
    before=st.integers(0, 10**8),
    later=st.integers(0, 10**9),
    interval=_INTERVALS,
)
def test_every_instant_is_in_one_period(anchor: int, before: int, later: int, interval: tuple[str, int]) -> None:
    """The period holds the instant, begins no earlier than the subscription, and the next one begins where it ends."""
    start = anchor - before
    now = start + later
    begins, ends = period_at(now, start, anchor, *interval)
    assert start <= begins <= now < ends
    assert period_at(ends, start, anchor, *interval)[0] == ends
    assert begins == start or period_at(begins - 1, start, anchor, *interval)[1] == begins


def test_anniversaries_count_from_the_anchor() -> None:
    """Not from the one before: the 31st is not lost in February."""
    anchor = instant("2026-01-31")
    assert [anniversary(anchor, "month", 1, number) for number in (1, 2, -1)] == [
        instant("2026-02-28"),
        instant("2026-03-31"),
        instant("2025-12-31"),
    ]
