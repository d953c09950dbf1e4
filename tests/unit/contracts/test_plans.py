"""Which plan a subscription is, and since when."""

from __future__ import annotations

from itertools import permutations

import pytest

from trueup.contracts.catalogue import parse
from trueup.contracts.plans import ToldPlan, plan_changes, plan_of, successor_of

CATALOGUE = parse(
    """
[meter.runs]
unit = "run"
stripe_event_name = { basic = "runs_basic", pro = "runs_pro" }
[plan.basic]
stripe_prices = ["price_basic", "price_tokens"]
[plan.pro]
stripe_prices = ["price_pro", "price_tokens"]
"""
)


@pytest.mark.parametrize(
    ("prices", "plan"),
    [
        (("price_basic", "price_tokens"), "basic"),
        (("price_pro", "price_seat"), "pro"),
        (("price_tokens",), None),
        (("price_basic", "price_pro"), None),
        (("price_other",), None),
        ((), None),
    ],
)
def test_plan_of(prices, plan):
    assert plan_of(CATALOGUE, prices) == plan


@pytest.mark.parametrize(
    ("prices", "plan"),
    [
        (("price_basic", "price_tokens"), "basic"),
        (("price_basic",), "basic"),
        (("price_tokens",), None),
        (("price_basic", "price_gone"), None),
        ((), None),
    ],
)
def test_successor_of(prices, plan):
    """A price that two plans share moves nobody from a plan that is gone to the other one."""
    assert successor_of(CATALOGUE, prices) == plan


def _told(at_ms: int, plan: str | None, before: str | None = None) -> ToldPlan:
    return ToldPlan(at_ms, plan, before or plan)


@pytest.mark.parametrize(
    ("held", "told", "now", "lacking"),
    [
        pytest.param([], [], "basic", [(1_000, "basic")], id="seen for the first time"),
        pytest.param([], [], None, [], id="no plan has its prices"),
        pytest.param([(1_000, "basic")], [], "basic", [], id="nothing new"),
        pytest.param([(1_000, "basic")], [], "pro", [(9_000, "pro")], id="a change that no event told is dated by when it was seen"),
        pytest.param([(1_000, "basic")], [_told(5_000, "pro", "basic")], "pro", [(5_000, "pro")], id="an event dates a change"),
        pytest.param([], [_told(5_000, "pro", "basic")], "pro", [(1_000, "basic"), (5_000, "pro")], id="an event tells what was before"),
        pytest.param([(1_000, "basic"), (5_000, "pro")], [_told(5_000, "pro", "basic")], "basic", [(9_000, "basic")], id="back again"),
        pytest.param(
            [(1_000, "basic")],
            [_told(7_000, "basic", "pro"), _told(5_000, "pro", "basic")],
            "basic",
            [(5_000, "pro"), (7_000, "basic")],
            id="there and back between two looks, told in the other order",
        ),
        pytest.param(
            [(1_000, "basic"), (6_000, "pro")], [_told(5_000, "pro", "basic")], "pro", [(5_000, "pro")], id="told after it was seen"
        ),
        pytest.param([(1_000, "basic")], [_told(5_000, None), _told(6_000, "basic")], "basic", [], id="prices of no plan say nothing"),
        pytest.param(
            [(1_000, "pro"), (1_000, "basic")],
            [_told(1_000, "pro"), _told(1_000, "basic", "pro")],
            "basic",
            [],
            id="changed in the second it began, told again",
        ),
    ],
)
def test_plan_changes(held, told, now, lacking):
    _assert_lacking(held, told, now, lacking)


def _assert_lacking(held, told, seen, lacking, **more) -> list[tuple[int, str]]:
    """What is held afterwards; and it is complete."""
    given = {"start_ms": 1_000, "seen_ms": 9_499, **more}
    assert plan_changes(held, told, seen, **given) == lacking
    complete = sorted([*held, *lacking], key=lambda fact: fact[0])
    assert plan_changes(complete, told, seen, **given) == [], "what was given is not given again"
    return complete


@pytest.mark.parametrize(
    ("held", "told", "lacking"),
    [
        pytest.param([(1_000, "basic"), (9_500, "pro")], [], [], id="held since the look"),
        pytest.param([(1_000, "basic"), (9_000, "pro")], [], [], id="held in the second of the look"),
        pytest.param([(1_000, "pro")], [_told(9_500, "pro", "basic")], [], id="told since the look"),
        pytest.param([(1_000, "pro")], [_told(9_500, None)], [], id="told since the look, of prices of no plan"),
        pytest.param([(1_000, "basic"), (8_999, "pro")], [], [(9_000, "basic")], id="held before the look"),
    ],
)
def test_a_look_says_nothing_against_what_is_dated_after_it(held, told, lacking):
    """It is kept after what came meanwhile: dated by its keeping it would take back a change that came after it."""
    _assert_lacking(held, told, "basic", lacking)


@pytest.mark.parametrize(
    ("held", "told", "lacking"),
    [
        pytest.param([], [], [(1_000, "new")], id="never seen before"),
        pytest.param([(1_000, "old")], [], [], id="its plan has another name now"),
        pytest.param([(1_000, "old")], [_told(4_000, "new")], [(4_000, "new")], id="told before its end"),
        pytest.param([(1_000, "old")], [_told(5_000, "new", "old")], [], id="told of after its end"),
    ],
)
def test_a_subscription_says_nothing_from_its_end_on(held, told, lacking):
    """What it said would be the newest of its customer, who is on another one by then."""
    _assert_lacking(held, told, "new", lacking, end_ms=5_000)


@pytest.mark.parametrize(
    ("held", "renamed", "lacking", "since"),
    [
        pytest.param([(1_000, "old")], {"old": "new"}, [(1_000, "new")], {1_000: "new"}, id="from the date of the old name on"),
        pytest.param(
            [(1_000, "old"), (5_000, "new"), (7_000, "old")],
            {"old": "new"},
            [(1_000, "new"), (7_000, "new")],
            {1_000: "new", 5_000: "new", 7_000: "new"},
            id="each time",
        ),
        pytest.param([(1_000, "gone"), (1_000, "new")], {"gone": "other"}, [], {1_000: "new"}, id="not what no longer stands"),
        pytest.param([(1_000, "new"), (1_000, "old")], {"old": "new"}, [(1_000, "new")], {1_000: "new"}, id="and back"),
        pytest.param([(1_000, "old")], {}, [(9_000, "new")], {1_000: "old", 9_000: "new"}, id="another plan is none of another name"),
    ],
)
@pytest.mark.parametrize("end_ms", [9_001, 2**62])
def test_a_plan_that_got_another_name_has_it_from_the_old_ones_date(held, renamed, lacking, since, end_ms):
    """Usage from before, that is not cut yet, is counted by names of the catalogue as it is now."""
    assert dict(_assert_lacking(held, [], "new", lacking, renamed=renamed, end_ms=end_ms)) == since


_MADE, _TO_PRO, _BACK, _TO_TEAM = (
    _told(5_000, "basic"),
    *(ToldPlan(5_000, plan, before) for plan, before in (("pro", "basic"), ("basic", "pro"), ("team", "basic"))),
)
_FROM_TEAM = ToldPlan(5_000, "basic", "team")


@pytest.mark.parametrize("held", [[], [(1_000, "basic")]])
@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ([_MADE, _TO_PRO], "pro"),
        ([_TO_PRO, _BACK], "basic"),
        ([_TO_TEAM, _FROM_TEAM, _TO_PRO], "pro"),
        ([_TO_PRO, _BACK, _TO_TEAM], "team"),
        ([_TO_PRO, _told(5_000, "pro")], "pro"),
    ],
)
def test_events_of_one_second_end_where_it_was_seen(held, told, seen):
    """Stripe dates them by the second, and their ids are in no order."""
    for shuffled in permutations(told):
        lacking = plan_changes(held, shuffled, seen, start_ms=1_000, seen_ms=9_499)
        complete = _assert_lacking(held, shuffled, seen, lacking)
        assert (complete[0], complete[-1]) == ((1_000, "basic"), (5_000, seen))


@pytest.mark.parametrize(
    ("first_held_ms", "lacking"),
    [
        (9_000, [(1_000, "basic"), (5_000, "pro")]),  # found after the change, which is told of only now
        (4_000, []),  # found before it: then it was on that plan, left it, and came back
    ],
)
def test_a_change_that_is_told_of_after_the_first_look_is_dated(first_held_ms: int, lacking: list[tuple[int, str]]) -> None:
    held, told = [(1_000, "pro")], [_told(5_000, "pro", "basic")]
    found = plan_changes(held, told, "pro", start_ms=1_000, seen_ms=9_500, first_held_ms=first_held_ms)
    assert found == lacking
    complete = sorted([*held, *found], key=lambda fact: fact[0])
    assert plan_changes(complete, told, "pro", start_ms=1_000, seen_ms=9_500, first_held_ms=first_held_ms) == []


def test_two_changes_that_are_told_of_after_the_first_look_are_dated_in_any_order() -> None:
    first, second = _told(3_000, "pro", "basic"), _told(5_000, "max", "pro")
    for told in ([first, second], [second], [first]):
        held = [(1_000, "max")]
        for known in (told, [first, second]):
            held += plan_changes(held, known, "max", start_ms=1_000, seen_ms=9_500, first_held_ms=9_000)
            held.sort(key=lambda fact: fact[0])
        assert [dict(held)[at_ms] for at_ms in (1_000, 3_000, 5_000)] == ["basic", "pro", "max"]


@pytest.mark.parametrize("told_of_the_beginning", [_told(1_000, "pro"), _told(2_000, "pro")])
def test_what_an_event_says_of_the_beginning_is_not_taken_back(told_of_the_beginning: ToldPlan) -> None:
    """It left that plan and came back, and only the coming back was told of so far."""
    told = [told_of_the_beginning, _told(5_000, "pro", "basic")]
    assert plan_changes([(1_000, "pro")], told, "pro", start_ms=1_000, seen_ms=9_500, first_held_ms=9_000) == []
