"""Which plan a subscription is, and since when."""

from __future__ import annotations

import pytest

from trueup.contracts.catalogue import parse
from trueup.contracts.plans import ToldPlan, plan_changes, plan_of

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
    found = plan_changes(held, told, now, start_ms=1_000, now_ms=9_499)
    assert found == lacking
    complete = sorted([*held, *lacking], key=lambda fact: fact[0])
    assert plan_changes(complete, told, now, start_ms=1_000, now_ms=9_499) == [], "what was given is not given again"
