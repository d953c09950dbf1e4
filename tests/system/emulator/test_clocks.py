"""Stripe's own test clocks: a customer's months pass while the street's date stands still."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.system.emulator.listening import CYCLE, listening, wait_until_idle
from tests.system.emulator.running import DAY, HOUR, World
from tests.system.emulator.test_shapes import assert_shape

JANUARY = 2_208_988_800 + 10 * HOUR + 17 * 60 + 42  # 2040-01-01T10:17:42Z, far ahead of the street


def advanced(world: World, clock: str, to: int) -> Any:
    """Advance a clock and wait until it is ready, as Stripe's guide says."""
    clocks = world.stripe.v1.test_helpers.test_clocks
    answer = clocks.advance(clock, {"frozen_time": to})
    assert answer.status == "advancing"
    assert answer.status_details.advancing is not None
    assert answer.status_details.advancing.target_frozen_time == to
    ready = clocks.retrieve(clock)
    assert (ready.status, ready.frozen_time) == ("ready", to)
    return ready


def test_months_pass_on_a_clock_of_their_own(world: World) -> None:
    """Usage by the clock's date, invoices on its days, webhooks at once; the street's date never moves."""
    world.switch(aggregation_lag_maximum_seconds=0)
    client: Any = world.stripe.v1
    street = world.clock.now_ms
    clock = client.test_helpers.test_clocks.create({"frozen_time": JANUARY, "name": "years ahead"})
    assert_shape(clock.to_dict(), stripe.test_helpers.TestClock)
    customer = client.customers.create({"test_clock": clock.id})
    recurring = {"interval": "month", "usage_type": "metered", "meter": world.meter}
    price = client.prices.create({"currency": "usd", "product_data": {"name": "x"}, "unit_amount": 3, "recurring": recurring})
    subscription = client.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    (item,) = subscription["items"].data
    assert (subscription.test_clock, item.current_period_start, item.current_period_end) == (clock.id, JANUARY, JANUARY + 31 * DAY)

    def report(value: str, timestamp: int | None = None) -> Any:
        others: dict[str, Any] = {} if timestamp is None else {"timestamp": timestamp}
        return world.report(payload={"stripe_customer_id": customer.id, "value": value}, **others)

    assert report("5").timestamp == JANUARY
    with pytest.raises(stripe.InvalidRequestError, match="in the future"):
        report("5", JANUARY + HOUR)
    with listening(world.emulator, enabled_events=[*CYCLE, "test_helpers.test_clock.ready"]) as listener:
        advanced(world, clock.id, JANUARY + 31 * DAY)
        (draft,) = client.invoices.list({"customer": customer.id}).data
        assert (draft.status, draft.created, draft.total, draft.test_clock) == ("draft", JANUARY + 31 * DAY, 15, clock.id)
        report("1", JANUARY + 31 * DAY - 1)
        advanced(world, clock.id, JANUARY + 62 * DAY)
        wait_until_idle(world.emulator)
        invoices = client.invoices.list({"customer": customer.id}).data
        assert [(invoice.status, invoice.total, invoice.created) for invoice in invoices] == [
            ("paid", 0, JANUARY + 60 * DAY),
            ("paid", 18, JANUARY + 31 * DAY),
        ]
        assert listener.kinds()[:3] == [CYCLE[0], CYCLE[1], "test_helpers.test_clock.ready"]
    assert world.clock.now_ms == street


def test_a_clock_goes_forward_only(world: World) -> None:
    """And a deleted one takes its customers with it."""
    client: Any = world.stripe.v1
    clock = client.test_helpers.test_clocks.create({"frozen_time": JANUARY})
    customer = client.customers.create({"test_clock": clock.id})
    with pytest.raises(stripe.InvalidRequestError, match="after the current"):
        client.test_helpers.test_clocks.advance(clock.id, {"frozen_time": JANUARY})
    assert clock.id in [found.id for found in client.test_helpers.test_clocks.list().data]
    assert client.test_helpers.test_clocks.delete(clock.id).deleted
    assert client.customers.retrieve(customer.id).deleted
    with pytest.raises(stripe.InvalidRequestError, match="No such test clock"):
        client.customers.create({"test_clock": clock.id})
