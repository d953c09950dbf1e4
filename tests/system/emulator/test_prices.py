"""Each kind of price on the preview and on the final invoice, set up and read through the SDK."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import stripe

from tests.system.emulator.running import HOUR, World
from tests.system.emulator.test_cycle import go_to, invoices, period
from tests.system.emulator.test_shapes import subscribe

TIERS = [
    {"up_to": 5, "unit_amount": 700},
    {"up_to": 10, "unit_amount_decimal": "650.5", "flat_amount": 30},
    {"up_to": "inf", "unit_amount": 600},
]
TIERED = {"billing_scheme": "tiered", "tiers": TIERS}

KINDS: dict[str, tuple[dict[str, Any], str, list[tuple[str, str | None, int]]]] = {
    "cents with decimals": ({"unit_amount_decimal": "0.0125"}, "374", [("374", "0.0125", 5)]),
    "graduated": (TIERED | {"tiers_mode": "graduated"}, "12", [("5", "700", 3500), ("5", "650.5", 3283), ("2", "600", 1200)]),
    "volume": (TIERED | {"tiers_mode": "volume"}, "7.5", [("7.5", "650.5", 4909)]),
    "package": ({"unit_amount": 500, "transform_quantity": {"divide_by": 1000, "round": "up"}}, "1001", [("1001", "500", 1000)]),
    "yen": ({"currency": "jpy", "unit_amount_decimal": "0.3"}, "5", [("5", "0.3", 2)]),
    "dinar": ({"currency": "kwd", "unit_amount": 1234}, "3", [("3", "1234", 3702)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_preview_and_invoice_have_the_lines_of_the_price(world: World, kind: str) -> None:
    """A graduated price makes a line of each tier reached; all others make one."""
    wish, usage, expected = KINDS[kind]
    world.switch(aggregation_lag_maximum_seconds=0)
    made = subscribe(world, **wish)
    world.report(usage)
    client: Any = world.stripe.v1
    coming = client.invoices.create_preview({"subscription": made["subscription"]["id"]})
    go_to(world, period(made)[1] + HOUR)
    (final,) = invoices(world)
    for invoice in (coming, final):
        lines = [(line.quantity_decimal, line.pricing.unit_amount_decimal, line.amount) for line in invoice.lines.data]
        assert lines == [(Decimal(quantity), Decimal(unit or 0), amount) for quantity, unit, amount in expected]
        assert [line.quantity for line in invoice.lines.data] == [int(Decimal(quantity)) for quantity, _, _ in expected]
        assert invoice.total == sum(amount for _, _, amount in expected)
        assert invoice.currency == wish.get("currency", "usd")


def test_tiers_are_shown_only_to_who_asks(world: World) -> None:
    """As in Stripe: not on the price, not in its list, not on a subscription, unless expanded."""
    made = subscribe(world, tiers_mode="graduated", **TIERED)
    client: Any = world.stripe.v1
    price, subscription = made["price"]["id"], made["subscription"]["id"]
    assert "tiers" not in made["price"]
    assert "tiers" not in client.prices.retrieve(price).to_dict()
    assert "tiers" not in client.subscriptions.retrieve(subscription)["items"].data[0].price.to_dict()
    full = client.prices.retrieve(price, {"expand": ["tiers"]})
    assert [(tier.up_to, tier.unit_amount, tier.flat_amount) for tier in full.tiers] == [(5, 700, None), (10, None, 30), (None, 600, None)]
    assert (full.billing_scheme, full.tiers_mode, full.unit_amount_decimal) == ("tiered", "graduated", None)
    (listed,) = client.prices.list({"recurring": {"meter": world.meter}, "expand": ["data.tiers"]}).data
    assert len(listed.tiers) == 3
    item = client.subscriptions.retrieve(subscription, {"expand": ["items.data.price.tiers"]})["items"].data[0]
    assert len(item.price.tiers) == 3
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.prices.retrieve(price, {"expand": ["product"]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"billing_scheme": "tiered", "tiers_mode": "volume"},
        {"billing_scheme": "tiered", "tiers": TIERS},
        {"tiers": TIERS, "tiers_mode": "volume"},
        {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS[:2]},
        {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [TIERS[1], TIERS[0], TIERS[2]]},
        {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [{"up_to": "inf"}]},
        TIERED | {"tiers_mode": "volume", "transform_quantity": {"divide_by": 2, "round": "up"}},
        TIERED | {"tiers_mode": "volume", "unit_amount": 3},
        {"unit_amount": 5, "transform_quantity": {"divide_by": 0, "round": "up"}},
        {"unit_amount": 5, "transform_quantity": {"divide_by": 2, "round": "half"}},
    ],
)
def test_refuses_tiers_that_make_no_price(world: World, wrong: dict[str, Any]) -> None:
    """Ascending bounds, an open end, an amount in each tier, and no packages with tiers."""
    with pytest.raises(stripe.InvalidRequestError):
        subscribe(world, **wrong)


def test_an_invoice_shows_ten_lines_and_pages_the_rest(world: World) -> None:
    """Like every list in Stripe: whoever reads only what the invoice carries misses lines."""
    bounds: list[Any] = [*range(1, 24), "inf"]
    tiers = [{"up_to": bound, "unit_amount": 1} for bound in bounds]
    world.switch(aggregation_lag_maximum_seconds=0)
    made = subscribe(world, billing_scheme="tiered", tiers_mode="graduated", tiers=tiers)
    world.report("30")
    go_to(world, period(made)[1] + HOUR)
    (final,) = invoices(world)
    assert (len(final.lines.data), final.lines.has_more, final.total) == (10, True, 30)
    client: Any = world.stripe.v1
    assert sum(line.amount for line in client.invoices.line_items.list(final.id, {"limit": 7}).auto_paging_iter()) == 30
