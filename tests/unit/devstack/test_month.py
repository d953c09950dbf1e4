"""The simulated month is what the contract asks of it, and its truth says of each delivery what it was made for."""

from __future__ import annotations

from collections import Counter

from devstack.load_generator.deliveries import Month
from devstack.load_generator.month import WINDOW_MS, Scale, make_month
from devstack.load_generator.truth import judge

START_MS = 1_790_812_800_000  # 2026-10-01
END_MS = START_MS + 31 * 86_400_000
MADE_TO_BE = {
    "first": {"on_time"},
    "refund": {"on_time"},
    "straggler": {"on_time"},
    "on_a_boundary": {"on_time"},
    "at_the_limit": {"on_time", "late"},
    "latecomer": {"late"},
    "older_than_the_horizon": {"late"},
    "duplicate": {"duplicate"},
    "conflict": {"conflict"},
}


def month(seed: int = 7) -> Month:
    """The demo's month."""
    return make_month(seed, START_MS, END_MS)


def test_the_month_has_the_size_and_the_mixture_that_is_promised() -> None:
    """100,000 deliveries, 50 customers, 4 meters, 3 products; 5 % duplicates, 1 % late inside the window, 0.5 % beyond."""
    deliveries = month().deliveries
    made, count = Counter(d.made_as for d in deliveries), len(deliveries)
    assert count >= 100_000
    assert len({d.usage.customer for d in deliveries}) >= 50
    assert len({d.usage.meter for d in deliveries if d.made_as == "first"}) >= 4
    assert len({d.usage.source for d in deliveries if d.made_as == "first"}) >= 3
    assert 0.04 < made["duplicate"] / count < 0.06
    assert 0.008 < made["straggler"] / count < 0.012
    assert 0.004 < made["latecomer"] / count < 0.007


def test_every_active_stream_of_a_burst_has_twenty_events() -> None:
    """So that a window's value in Stripe stands for many events."""
    firsts = Counter(
        (d.usage.customer, d.usage.meter, d.usage.event_time_ms // WINDOW_MS) for d in month().deliveries if d.made_as == "first"
    )
    assert min(firsts.values()) >= 20


def test_each_delivery_ends_as_it_was_made_to() -> None:
    """The verdicts come from times and values alone; what the generator meant must agree."""
    deliveries = month().deliveries
    verdicts = judge(deliveries).verdicts
    wrong = [
        (d.made_as, v.outcome) for d, v in zip(deliveries, verdicts, strict=True) if v.outcome not in MADE_TO_BE.get(d.made_as, {"refused"})
    ]
    assert wrong == []


def test_arrivals_lie_inside_the_step_of_the_clock_and_never_on_a_cut() -> None:
    """A burst is published when the clock has reached it; a cut, at window end + 1 min, never coincides with one."""
    before_ms = START_MS
    for burst in month().bursts:
        assert all(before_ms < d.arrival_ms <= burst.at_ms for d in burst.deliveries)
        assert (burst.at_ms - 60_000) % WINDOW_MS != 0
        before_ms = burst.at_ms
    assert before_ms < END_MS


def test_a_seed_always_makes_the_same_month() -> None:
    """Else no run could be compared with another."""
    small = Scale(customers=4, bursts=2, events_low=20, events_high=22)
    assert make_month(3, START_MS, END_MS, small) == make_month(3, START_MS, END_MS, small)
    assert make_month(3, START_MS, END_MS, small) != make_month(4, START_MS, END_MS, small)
