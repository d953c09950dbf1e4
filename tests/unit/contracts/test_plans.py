"""Which plan a subscription is."""

from __future__ import annotations

import pytest

from trueup.contracts.catalogue import parse
from trueup.contracts.plans import plan_of

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
