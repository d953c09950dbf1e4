"""What is read when, as tables."""

from __future__ import annotations

import pytest

from services.reconciler.core.reads import (
    DAY_MS,
    HOUR_MS,
    STRIPE_REACH_MS,
    Customer,
    Hour,
    Lane,
    LaneRead,
    customers_to_read,
    needs_reading,
    plan_reads,
    sweep_of,
)
from services.reconciler.core.rounds import rhythm

NOW_MS = 500 * DAY_MS + 17 * 60_000
SETTLE_MS = 2 * HOUR_MS
SWEEP_MS = DAY_MS


def _hour(start_hours_ago: int, *, touched: float | None = None, read: float | None = None, differs: bool = True) -> Hour:
    """Everything in hours before now."""
    start_ms = NOW_MS // HOUR_MS * HOUR_MS - start_hours_ago * HOUR_MS
    return Hour(
        start_ms,
        None if touched is None else NOW_MS - int(touched * HOUR_MS),
        None if read is None else NOW_MS - int(read * HOUR_MS),
        differs,
    )


@pytest.mark.parametrize(
    ("hour", "needed"),
    [
        (_hour(3), False),  # nothing came back yet: nothing to compare
        (_hour(3, touched=1.9), False),  # Stripe may not have counted it yet
        (_hour(3, touched=2.0), True),
        (_hour(9, touched=5, read=4, differs=False), True),  # read too early: its answer had not settled
        (_hour(9, touched=5, read=3, differs=False), False),
        (_hour(9, touched=5, read=0.2), False),  # differs, and was read a moment ago
        (_hour(9, touched=5, read=0.25), True),
    ],
)
def test_which_hours_need_reading(hour: Hour, needed: bool):
    assert needs_reading(hour, SETTLE_MS, NOW_MS) is needed


def test_with_a_short_settling_a_difference_is_read_again_sooner():
    hour = Hour(0, NOW_MS - 60_000, NOW_MS - 6_000, True)
    assert needs_reading(hour, 5_000, NOW_MS)
    assert not needs_reading(hour, 7_000, NOW_MS)


def test_a_lane_is_read_from_its_first_needy_hour_to_its_last():
    hours = (_hour(30, touched=20), _hour(9, touched=5), _hour(1, touched=0.5))
    lane = Lane(7, SETTLE_MS, NOW_MS - HOUR_MS, hours)
    assert plan_reads([lane], NOW_MS, SWEEP_MS) == (LaneRead(7, hours[0].hour_start_ms, hours[1].hour_start_ms + HOUR_MS, sweep=False),)


def test_a_quiet_lane_is_left_alone_until_its_sweep():
    assert plan_reads([Lane(7, SETTLE_MS, NOW_MS - SWEEP_MS + 1, ())], NOW_MS, SWEEP_MS) == ()
    (read,) = plan_reads([Lane(7, SETTLE_MS, NOW_MS - SWEEP_MS, ())], NOW_MS, SWEEP_MS)
    assert read.sweep
    # Whole hours only: Stripe refuses anything else.
    assert read.from_ms % HOUR_MS == read.to_ms % HOUR_MS == 0
    assert read.from_ms <= NOW_MS - STRIPE_REACH_MS < read.from_ms + HOUR_MS
    assert read.to_ms > NOW_MS


def test_a_new_lane_is_swept():
    (read,) = plan_reads([Lane(7, SETTLE_MS, None, ())], NOW_MS, SWEEP_MS)
    assert read.sweep


def test_a_sweep_takes_in_what_is_older_and_unsettled():
    old = Hour(HOUR_MS, 2 * HOUR_MS, None, True)
    assert sweep_of(Lane(7, SETTLE_MS, None, (old,)), NOW_MS).from_ms == HOUR_MS


def test_a_range_that_was_asked_for_is_no_sweep():
    read = sweep_of(Lane(7, SETTLE_MS, None, ()), NOW_MS, 3 * HOUR_MS + 5, 5 * HOUR_MS + 5)
    assert read == LaneRead(7, 3 * HOUR_MS, 6 * HOUR_MS, sweep=False)


def test_whose_subscriptions_are_read():
    customers = [
        Customer("new", None, None),
        Customer("subscribed", NOW_MS - HOUR_MS, 1),
        Customer("subscribed long ago", NOW_MS - DAY_MS, 1),
        Customer("waits for one", NOW_MS - 60_000, 0),
        Customer("waits, asked just now", NOW_MS - 59_999, 0),
    ]
    assert customers_to_read(customers, NOW_MS, SWEEP_MS, 60_000) == ("new", "subscribed long ago", "waits for one")


def test_rounds_stand_at_whole_multiples_of_their_interval():
    daily = rhythm(simulated=True, round_seconds=None, sweep_seconds=None)
    assert daily.next_round_ms(NOW_MS) == 501 * DAY_MS
    assert daily.next_round_ms(501 * DAY_MS) == 502 * DAY_MS
    assert daily.read_age_seconds == 7 * 86_400
    quick = rhythm(simulated=False, round_seconds=None, sweep_seconds=None)
    assert quick.next_round_ms(NOW_MS) - NOW_MS <= 5_000
    assert rhythm(simulated=True, round_seconds=3_600, sweep_seconds=7_200).read_age_seconds == 18_000
