"""Prices, subscriptions and the preview of the invoice that is coming."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
import stripe

from tests.system.emulator.running import DAY, HOUR, World, make_world
from tests.system.emulator.test_shapes import subscribe


def instant(text: str) -> int:
    """Read a date as unix seconds."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp())


def preview(world: World, **wish: Any) -> Any:
    """Preview the customer's next invoice."""
    query: Any = wish or {"customer": world.customer}
    return world.stripe.v1.invoices.create_preview(query)


@pytest.fixture
def prompt(world: World) -> World:
    """A world in which Stripe aggregates at once."""
    world.switch(aggregation_lag_maximum_seconds=0)
    return world


@pytest.mark.parametrize(
    ("price", "usage", "quantity", "amount"),
    [
        ({"unit_amount": 5}, ["14", "-1"], "13", 65),
        ({"unit_amount_decimal": "0.0125"}, ["374", "44"], "418", 5),
        ({"unit_amount_decimal": "0.5"}, ["1"], "1", 1),
        ({"unit_amount_decimal": "0.5"}, ["2.5"], "2.5", 1),
        ({"unit_amount": 3}, ["0.1"] * 7, "0.7", 2),
        ({"unit_amount": 3}, ["5", "-9"], "0", 0),
        ({"unit_amount_decimal": "0.000000000001"}, ["999999999999999", "999999999999999"], "1999999999999998", 2000),
        ({"unit_amount": 100}, ["0.0000000000005"], "0.000000000001", 0),
        ({"unit_amount": 7}, [], "0", 0),
    ],
)
def test_a_line_is_quantity_times_price(prompt: World, price: dict[str, Any], usage: list[str], quantity: str, amount: int) -> None:
    """Exact decimals to the end, rounded once; ``quantity`` is cut off, ``quantity_decimal`` is not; a negative total is nothing."""
    made = subscribe(prompt, **price)
    for value in usage:
        prompt.report(value)
    invoice = preview(prompt)
    (line,) = invoice.lines.data
    assert line.quantity_decimal == Decimal(quantity)
    assert line.quantity == int(Decimal(quantity))
    assert (line.amount, invoice.total, invoice.amount_due, invoice.currency) == (amount, amount, amount, "usd")
    assert line.pricing.unit_amount_decimal == Decimal(made["price"]["unit_amount_decimal"])
    assert line.pricing.price_details.price == made["price"]["id"]
    item = made["subscription"]["items"]["data"][0]
    assert line.parent.subscription_item_details.subscription_item == item["id"]
    assert (line.period.start, line.period.end) == (item["current_period_start"], item["current_period_end"])


def test_the_period_holds_its_start_and_not_its_end(prompt: World) -> None:
    """Usage counts by its timestamp to the second; a period need not begin on a minute."""
    prompt.clock.advance(17)
    start = prompt.clock.now
    subscribe(prompt)
    prompt.report("1", timestamp=start - 1)
    prompt.report("10", timestamp=start)
    prompt.clock.advance(2 * HOUR)
    prompt.report("100")
    assert preview(prompt).lines.data[0].quantity == 110


def test_the_preview_lags_like_the_summaries(world: World) -> None:
    """E10: what is not aggregated yet is on no preview."""
    subscribe(world)
    world.switch(aggregation_lag_minimum_seconds=100, aggregation_lag_maximum_seconds=100)
    world.report("4")
    assert preview(world).lines.data[0].quantity == 0
    world.clock.advance(100)
    assert preview(world).lines.data[0].quantity == 4


def test_the_period_moves_on(prompt: World) -> None:
    """A monthly item's period is that of now, on its anchor's day, and only the items know it."""
    made = subscribe(prompt)["subscription"]
    assert "current_period_start" not in made
    item = made["items"]["data"][0]
    prompt.report("5")
    prompt.clock.set_ms(item["current_period_end"] * 1000)
    later = prompt.stripe.v1.subscriptions.retrieve(made["id"]).to_dict()["items"]["data"][0]
    assert later["current_period_start"] == item["current_period_end"]
    assert preview(prompt).lines.data[0].quantity == 0


def test_a_set_up_subscription_begins_in_the_past(prompt: World) -> None:
    """The street's customers are subscribed since the first of a month: one door makes all of it, twice the same."""
    start = prompt.clock.now - 20 * DAY
    price, subscription = prompt.name("price_input_tokens"), prompt.name("sub_acme")
    product = prompt.stripe.v1.products.create({"name": "Tokens", "id": prompt.name("prod")})
    recurring = {"interval": "month", "usage_type": "metered", "meter": prompt.meter}
    wish = {"id": price, "product": product.id, "currency": "usd", "unit_amount_decimal": "0.25", "recurring": recurring}
    assert prompt.emulator.tell("prices", wish)["id"] == price
    order = {"id": subscription, "customer": prompt.customer, "items": [{"price": price}], "backdate_start_date": start}
    made = prompt.emulator.tell("subscriptions", order)
    assert prompt.emulator.tell("subscriptions", order) == made
    (item,) = prompt.stripe.v1.subscriptions.retrieve(subscription).to_dict()["items"]["data"]
    assert (item["id"], item["current_period_start"]) == (f"si_{subscription.removeprefix('sub_')}_0", start)
    prompt.report("8", timestamp=start)
    (line,) = preview(prompt, subscription=subscription).lines.data
    assert (line.quantity, line.amount, line.pricing.price_details.price) == (8, 2, price)


def test_a_backdated_subscription_is_anchored_at_its_making(prompt: World) -> None:
    """As Stripe's guide to backdating says, unless an anchor is given: the first period is short."""
    price = subscribe(prompt)["price"]["id"]
    prompt.clock.advance(DAY)
    now = prompt.clock.now
    items: Any = [{"price": price}]
    free = prompt.stripe.v1.subscriptions.create({"customer": prompt.customer, "items": items, "backdate_start_date": now - 3 * DAY})
    assert (free.start_date, free.billing_cycle_anchor) == (now - 3 * DAY, now)
    assert free.to_dict()["items"]["data"][0]["current_period_start"] == now
    anchored = prompt.stripe.v1.subscriptions.create(
        {"customer": prompt.customer, "items": items, "backdate_start_date": now - 3 * DAY, "billing_cycle_anchor": now + DAY}
    )
    item = anchored.to_dict()["items"]["data"][0]
    assert (item["current_period_start"], item["current_period_end"]) == (now - 3 * DAY, now + DAY)


def test_several_items_are_several_lines(prompt: World) -> None:
    """One line for each item, in order, each from its own meter."""
    client = prompt.stripe.v1
    lines: Any = []
    other = make_world(prompt.emulator)
    product = client.products.create({"name": "All"})
    for meter, amount in ((prompt.meter, 2), (other.meter, 3)):
        wish: Any = {
            "currency": "eur",
            "product": product.id,
            "unit_amount": amount,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
        }
        lines.append({"price": client.prices.create(wish).id})
    client.subscriptions.create({"customer": prompt.customer, "items": lines})
    prompt.report("10")
    other.report(payload={"stripe_customer_id": prompt.customer, "value": "100"})
    invoice = preview(prompt)
    assert [line.amount for line in invoice.lines.data] == [20, 300]
    assert (invoice.total, invoice.currency) == (320, "eur")


def test_nothing_to_preview(world: World) -> None:
    """404 for a customer without a subscription, and for a subscription of somebody else."""
    with pytest.raises(stripe.InvalidRequestError, match="No upcoming invoices for customer") as caught:
        preview(world)
    assert (caught.value.http_status, caught.value.code) == (404, "invoice_upcoming_none")
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        preview(world, customer=world.customer, subscription="sub_none")


@pytest.mark.parametrize(
    "wrong",
    [
        {"recurring": {"interval": "month", "usage_type": "metered"}},
        {"recurring": {"interval": "month", "meter": "mtr_none", "usage_type": "metered"}},
        {"unit_amount": None},
        {"unit_amount": -1},
        {"unit_amount_decimal": "0.0000000000001"},
        {"product": "prod_none"},
        {"tiers": [{"up_to": "inf"}]},
    ],
)
def test_refuses_prices_it_could_not_bill(world: World, wrong: dict[str, Any]) -> None:
    """A metered price has a meter, an amount of at most 12 decimals and a product; tiers are not emulated."""
    product = world.stripe.v1.products.create({"name": "x"})
    recurring = {"interval": "month", "usage_type": "metered", "meter": world.meter}
    wish: Any = {"currency": "usd", "product": product.id, "unit_amount": 5, "recurring": recurring}
    if "unit_amount_decimal" in wrong:
        del wish["unit_amount"]
    wish.update(wrong)
    with pytest.raises(stripe.InvalidRequestError):
        world.stripe.v1.prices.create({name: value for name, value in wish.items() if value is not None})  # type: ignore[arg-type]


def test_prices_are_found_by_lookup_key_and_meter(world: World) -> None:
    """The lists filter as the SDK asks."""
    made = subscribe(world, unit_amount=5, lookup_key=world.name("key"))
    client = world.stripe.v1
    by_key = client.prices.list({"lookup_keys": [made["price"]["lookup_key"]]})
    by_meter = client.prices.list({"recurring": {"meter": world.meter}})
    assert [price.id for price in by_key.data] == [price.id for price in by_meter.data] == [made["price"]["id"]]
    found = client.subscriptions.list({"customer": world.customer, "price": made["price"]["id"], "status": "all"})
    assert [subscription.id for subscription in found.data] == [made["subscription"]["id"]]
    assert client.subscriptions.list({"customer": world.customer, "status": "canceled"}).data == []
    world.stripe.v1.billing.meters.deactivate(world.meter)
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        subscribe(world)
