"""E24 and E25: what becomes of usage when a price is swapped, an item goes, or a subscription ends, in both billing modes."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.system.emulator.running import DAY, HOUR, World
from tests.system.emulator.test_cycle import go_to, invoices, kinds
from tests.system.emulator.test_shapes import assert_shape


class Swapping:
    """A customer on price A (1 cent) of one meter, with a price B (100 cents) of the same meter at hand."""

    def __init__(self, world: World, mode: str) -> None:
        self.world = world
        world.switch(aggregation_lag_maximum_seconds=0)
        world.clock.to_next(HOUR)
        client: Any = world.stripe.v1
        self.client = client
        product = client.products.create({"name": "Usage"}).id
        recurring = {"interval": "month", "usage_type": "metered", "meter": world.meter}
        self.a, self.b = (
            client.prices.create({"currency": "usd", "product": product, "recurring": recurring, "unit_amount": amount}).id
            for amount in (1, 100)
        )
        wish = {"customer": world.customer, "items": [{"price": self.a}], "billing_mode": {"type": mode}}
        self.subscription = client.subscriptions.create(wish)
        (self.item,) = self.subscription["items"].data
        self.start, self.end = self.item.current_period_start, self.item.current_period_end

    def swap(self, **others: Any) -> Any:
        """Put price B in the place of A."""
        return self.client.subscriptions.update(self.subscription.id, {"items": [{"id": self.item.id, "price": self.b}], **others})

    def lines(self) -> list[tuple[str, int, int, int]]:
        """Give price, quantity, start and end of every line ever invoiced, oldest invoice first."""
        found = []
        for invoice in invoices(self.world)[::-1]:
            assert invoice.status == "paid"
            for line in invoice.lines.data:
                name = {self.a: "A", self.b: "B"}[line.pricing.price_details.price]
                found.append((name, line.quantity, line.period.start, line.period.end))
        return found


@pytest.mark.parametrize(
    ("mode", "prorates", "billed"),
    [
        ("classic", {}, []),
        ("flexible", {}, [("A", 10)]),
        ("flexible", {"proration_behavior": "none"}, []),
        ("flexible", {"proration_behavior": "always_invoice"}, [("A", 10)]),
    ],
)
def test_a_swap(world: World, mode: str, prorates: dict[str, str], billed: list[tuple[str, int]]) -> None:
    """Classic bills nothing of the time before; flexible what it had received, unless told not to. Later reports for it are lost."""
    swapping = Swapping(world, mode)
    world.clock.advance(10 * DAY)
    world.report("10")
    world.clock.advance(HOUR)
    at = world.clock.now
    changed = swapping.swap(**prorates)
    assert changed["items"].data[0].id == swapping.item.id
    assert changed["items"].data[0].price.id == swapping.b
    assert_shape(changed.to_dict(), stripe.Subscription)
    world.report("500", timestamp=at - 1)
    world.report("20", timestamp=at)
    go_to(world, at)
    early = swapping.lines()
    go_to(world, swapping.end + HOUR)
    old = [(*line, swapping.start, at) for line in billed]
    assert early == (old if prorates.get("proration_behavior") == "always_invoice" else [])
    assert swapping.lines() == [*old, ("B", 20, at, swapping.end)]


@pytest.mark.parametrize(("grace", "billed"), [("lost", 20), ("counts", 21)])
def test_usage_of_the_grace_after_a_swap(world: World, grace: str, billed: int) -> None:
    """Reported in the grace after a change of price within the period: on no invoice, as the guide says; a switch."""
    world.switch(grace_after_swap=grace)
    swapping = Swapping(world, "flexible")
    world.clock.advance(DAY)
    swapping.swap()
    world.report("20")
    go_to(world, swapping.end)
    world.report("1", timestamp=swapping.end - 1)
    go_to(world, swapping.end + HOUR)
    assert [(name, quantity) for name, quantity, *_ in swapping.lines()] == [("A", 0), ("B", billed)]
    world.report("2")
    (item,) = swapping.client.subscriptions.retrieve(swapping.subscription.id)["items"].data
    go_to(world, item.current_period_end)
    world.report("3", timestamp=item.current_period_end - 1)
    go_to(world, item.current_period_end + HOUR)
    assert swapping.lines()[2:] == [("B", 5, swapping.end, item.current_period_end)]


def test_the_preview_knows_of_the_swap(world: World) -> None:
    """Old usage at the old price, new usage at the new one."""
    swapping = Swapping(world, "flexible")
    world.report("7")
    world.clock.advance(DAY)
    swapping.swap()
    world.report("2")
    coming = swapping.client.invoices.create_preview({"subscription": swapping.subscription.id})
    assert [(line.quantity, line.amount) for line in coming.lines.data] == [(7, 7), (2, 200)]


@pytest.mark.parametrize(("mode", "billed"), [("classic", 0), ("flexible", 10)])
def test_items_come_and_go(world: World, mode: str, billed: int) -> None:
    """An item taken away is billed in flexible mode only; a new one counts from its own beginning."""
    swapping = Swapping(world, mode)
    world.report("10")
    world.clock.advance(DAY)
    at = world.clock.now
    items = [{"id": swapping.item.id, "deleted": True}, {"price": swapping.b}]
    changed = swapping.client.subscriptions.update(swapping.subscription.id, {"items": items})
    (item,) = changed["items"].data
    assert item.id != swapping.item.id
    assert item.current_period_start == at
    world.report("3")
    go_to(world, swapping.end + HOUR)
    assert sum(quantity for name, quantity, *_ in swapping.lines() if name == "A") == billed
    assert [line for line in swapping.lines() if line[0] == "B"] == [("B", 3, at, swapping.end)]


def test_refuses_changes_that_can_not_be(world: World) -> None:
    """``clear_usage`` is classic's; no subscription without items; a cancelled one is gone."""
    swapping = Swapping(world, "flexible")
    update, identifier = swapping.client.subscriptions.update, swapping.subscription.id
    with pytest.raises(stripe.InvalidRequestError, match="not supported: clear_usage"):
        update(identifier, {"items": [{"id": swapping.item.id, "deleted": True, "clear_usage": True}, {"price": swapping.b}]})
    with pytest.raises(stripe.InvalidRequestError, match="at least one active item"):
        update(identifier, {"items": [{"id": swapping.item.id, "deleted": True}]})
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription item"):
        update(identifier, {"items": [{"id": "si_none", "price": swapping.b}]})
    swapping.client.subscriptions.cancel(identifier)
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        swapping.client.subscriptions.cancel(identifier)


@pytest.mark.parametrize(("invoice_now", "billed"), [(False, []), (True, [10])])
def test_cancelled_at_once(world: World, invoice_now: bool, billed: list[int]) -> None:
    """Open usage is not billed unless asked for; whatever comes later is on no invoice."""
    swapping = Swapping(world, "flexible")
    world.report("10")
    world.clock.advance(DAY)
    gone = swapping.client.subscriptions.cancel(swapping.subscription.id, {"invoice_now": invoice_now})
    assert (gone.status, gone.ended_at, gone.canceled_at) == ("canceled", world.clock.now, world.clock.now)
    listed: dict[Any, list[str]] = {
        status: [found.id for found in swapping.client.subscriptions.list({"customer": world.customer, **query}).data]
        for status, query in {"": {}, **{name: {"status": name} for name in ("active", "canceled", "ended", "all")}}.items()
    }
    assert listed == {"": [], "active": [], "canceled": [gone.id], "ended": [gone.id], "all": [gone.id]}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        swapping.client.invoices.create_preview({"customer": world.customer, "subscription": gone.id})
    assert refused.value.code == "invoice_upcoming_none"
    assert "customer.subscription.deleted" in kinds(world)
    world.report("5", timestamp=world.clock.now - 1)
    go_to(world, swapping.end + DAY)
    assert [quantity for _, quantity, *_ in swapping.lines()] == billed


def test_cancelled_with_its_period(world: World) -> None:
    """The last invoice has the whole period's usage, grace included; nothing follows."""
    swapping = Swapping(world, "flexible")
    marked = swapping.client.subscriptions.update(swapping.subscription.id, {"cancel_at_period_end": True})
    assert (marked.cancel_at, marked.cancel_at_period_end, marked.status) == (swapping.end, True, "active")
    world.report("10")
    go_to(world, swapping.end)
    world.report("1", timestamp=swapping.end - 1)
    assert swapping.client.subscriptions.retrieve(swapping.subscription.id).status == "canceled"
    go_to(world, swapping.end + 40 * DAY)
    assert swapping.lines() == [("A", 11, swapping.start, swapping.end)]


def test_cancelled_at_a_date_and_kept_after_all(world: World) -> None:
    """A date inside the period shortens it; unmarked, it goes on."""
    swapping = Swapping(world, "flexible")
    update = swapping.client.subscriptions.update
    update(swapping.subscription.id, {"cancel_at_period_end": True})
    assert update(swapping.subscription.id, {"cancel_at_period_end": False}).cancel_at is None
    at = swapping.start + 5 * DAY + 17
    update(swapping.subscription.id, {"cancel_at": at})
    world.report("10")
    go_to(world, at + HOUR)
    assert swapping.lines() == [("A", 10, swapping.start, at)]
