"""Subscriptions and previews that are longer than the ten that Stripe shows at once."""

from __future__ import annotations

from typing import Any

from services.reconciler.adapters import StripeReader
from services.reconciler.adapters.invoices import InvoiceReader
from services.reconciler.adapters.period_reader import PeriodReader
from tests.makers.dispatch_world import HOUR_MS, DispatchWorld
from tests.system.emulator.running import API_KEY
from trueup.runtime.clock import SimulatedClock

METERS = tuple(f"meter{number:02}" for number in range(12))


def test_the_eleventh_item_of_a_subscription_is_billed_as_the_first_is(world: DispatchWorld) -> None:
    """It had no period and no price, and its usage waited for one without end; and a longer preview was read as none."""
    world.apply(*METERS)
    items = []
    for meter in METERS:
        recurring = {"interval": "month", "usage_type": "metered", "meter": f"mtr_{world.event_name(meter)}"}
        price: dict[str, Any] = {"id": f"price_{world.event_name(meter)}", "currency": "usd", "recurring": recurring, "unit_amount": 1}
        world.emulator.tell("prices", price | {"product_data": {"name": meter}})
        items.append({"price": price["id"]})
    wish = {"id": f"sub_{world.suffix}", "customer": world.stripe_customer("acme"), "items": items}
    world.emulator.tell("subscriptions", wish | {"backdate_start_date": (world.now_ms - HOUR_MS) // 1_000})
    assert world.emulator.client().v1.subscriptions.retrieve(wish["id"])["items"].has_more
    customer, prices = world.stripe_customer("acme"), [item["price"] for item in items]
    assert world.emulator.clock is not None
    (one,) = PeriodReader(API_KEY, world.emulator.url).subscriptions(customer)
    assert [list(one.prices), [item.price_id for item in one.items]] == [prices, prices]
    reader = StripeReader(API_KEY, world.emulator.url, SimulatedClock(world.emulator.clock.path))
    (again,) = reader.subscriptions(customer)
    assert (list(again.prices), len(again.meters)) == (prices, 12)
    assert [line.price_id for line in reader.preview(customer, wish["id"])] == prices
    assert [line.price_id for line in InvoiceReader(API_KEY, world.emulator.url).preview(customer, wish["id"])] == prices
