"""The simulated month is what the contract asks of it, and its truth says of each delivery what it was made for."""

from __future__ import annotations

from collections import Counter

from devstack.load_generator.deliveries import Month, Turn
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
    "behind_the_invoice": {"late"},
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
    *bursts, last = month().bursts
    assert {d.made_as for d in last.deliveries} == {"behind_the_invoice"}
    for burst in bursts:
        assert all(before_ms < d.arrival_ms <= burst.at_ms for d in burst.deliveries)
        assert (burst.at_ms - 60_000) % WINDOW_MS != 0
        before_ms = burst.at_ms
    assert before_ms < END_MS


def test_usage_is_there_before_a_newcomer_and_none_after_a_leaver() -> None:
    """Two sign up, two cancel, two go up a plan and two down, on instants at which nothing is published."""
    made = month()
    turns = Counter(contract.turn for contract in made.contracts)
    assert turns == {Turn.SIGNS_UP: 2, Turn.CANCELS: 2, Turn.CHANGES_PLAN: 4}
    assert not {contract.at_ms for contract in made.contracts} & {burst.at_ms for burst in made.bursts}
    for contract in made.contracts:
        used_ms = [d.usage.event_time_ms for d in made.deliveries if d.usage.customer == contract.customer.name and d.made_as == "first"]
        assert min(used_ms) < contract.at_ms
        assert (max(used_ms) > contract.at_ms) is (contract.turn is not Turn.CANCELS)


def test_what_is_used_from_the_second_of_a_change_on_belongs_to_the_new_plan() -> None:
    """Both sides of it have usage in time; who changes nothing has nothing on a new plan."""
    made = month()
    changed_ms = {contract.customer.name: contract.at_ms for contract in made.contracts if contract.turn is Turn.CHANGES_PLAN}
    runs = {customer: totals for (customer, meter), totals in judge(made.deliveries, changed_ms).totals.items() if meter == "runs"}
    assert changed_ms.keys() < runs.keys()
    for customer, totals in runs.items():
        assert 0 < totals.on_time_of_new_plan < totals.on_time if customer in changed_ms else totals.on_time_of_new_plan == 0
    first = next(d for d in made.deliveries if d.made_as == "first" and d.usage.meter == "runs")
    at_ms = first.usage.event_time_ms
    for moved_ms, new in ((0, first.usage.quantity), (1, 0)):
        (totals,) = judge([first], {first.usage.customer: at_ms + moved_ms}).totals.values()
        assert (totals.on_time, totals.on_time_of_new_plan) == (first.usage.quantity, new)


def test_a_seed_always_makes_the_same_month() -> None:
    """Else no run could be compared with another."""
    small = Scale(customers=4, bursts=2, events_low=20, events_high=22, newcomers=1, leavers=1)
    assert make_month(3, START_MS, END_MS, small) == make_month(3, START_MS, END_MS, small)
    assert make_month(3, START_MS, END_MS, small) != make_month(4, START_MS, END_MS, small)
