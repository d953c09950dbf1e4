"""What no line of an invoice is over is missed, and nothing that a line is over: swaps, cancellations and drafts in every order."""

from __future__ import annotations

from typing import Any

from tests.makers.capture_batches import make_event
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld
from tests.makers.period_world import (
    DAY_MS,
    assert_ends,
    ended,
    go_to,
    invoicing,
    keeper,
    look_at,
    period_end_ms,
    send,
    settle,
    subscribe,
    use_and_send,
)
from trueup.ledger.store import invoices

GRACE_SECONDS = 86_400


def _swap(world: DispatchWorld, subscription: str, *, to: str = "dear", interval: str = "month", **others: Any) -> None:
    """Another price of the same meter, from now on."""
    client: Any = world.emulator.client()
    name = world.event_name("tokens")
    recurring = {"interval": interval, "usage_type": "metered", "meter": f"mtr_{name}"}
    price = {"id": f"{to}_{name}", "currency": "usd", "product_data": {"name": to}, "recurring": recurring, "unit_amount": 3}
    world.emulator.tell("prices", price)
    item = client.v1.subscriptions.retrieve(subscription)["items"]["data"][0]["id"]
    client.v1.subscriptions.update(subscription, {"items": [{"id": item, "price": price["id"]}], **others})


def test_what_a_draft_bills_is_not_missed_because_its_line_begins_at_a_swap(world: DispatchWorld) -> None:
    """Classic: what was used before the swap is on no line. The subscription is over before its last invoice is final."""
    world.emulator.tell("settings", {"finalization_grace_seconds": GRACE_SECONDS})
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS, mode="classic")
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room, invoicing(world) as billing:
        settle(world, room)
        use_and_send(world, room, 5)
        world.advance(DAY_MS)
        _swap(world, subscription)
        settle(world, room)
        use_and_send(world, room, 7, in_ms=10 * MINUTE_MS)
        client: Any = world.emulator.client()
        client.v1.subscriptions.update(subscription, {"cancel_at_period_end": True})
        go_to(world, end_ms)
        ended(world, subscription, end_ms)
        look_at(world, room, billing, end_ms, end_ms + 2 * HOUR_MS)
        assert world.account("missed_invoice") == 5
        look_at(world, room, billing, end_ms + 25 * HOUR_MS, end_ms + 50 * HOUR_MS)
        assert_ends(world, missed=5, invoiced=7)


def test_what_the_draft_of_a_second_subscription_bills_is_not_missed_by_the_first(world: DispatchWorld) -> None:
    world.emulator.tell("settings", {"finalization_grace_seconds": GRACE_SECONDS})
    first = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    second = subscribe(world, since_ms=world.now_ms - HOUR_MS, mode="classic", again="2")
    end_ms = period_end_ms(world, second)
    client: Any = world.emulator.client()
    with keeper(world) as room, invoicing(world) as billing:
        settle(world, room)
        world.advance(DAY_MS)
        _swap(world, second)
        settle(world, room)
        use_and_send(world, room, 7, in_ms=10 * MINUTE_MS)
        client.v1.subscriptions.update(second, {"cancel_at_period_end": True})
        client.v1.subscriptions.cancel(first, {"invoice_now": False})
        cancelled_ms = world.now_ms
        ended(world, first, cancelled_ms)
        look_at(world, room, billing, cancelled_ms, cancelled_ms + 2 * HOUR_MS, cancelled_ms + 50 * HOUR_MS)
        go_to(world, end_ms)
        ended(world, second, end_ms)
        look_at(world, room, billing, end_ms, end_ms + 2 * HOUR_MS, end_ms + 25 * HOUR_MS, end_ms + 50 * HOUR_MS)
        assert_ends(world, missed=0, invoiced=7)


def test_an_invoice_in_the_last_hour_of_a_period_is_not_its_last_one(world: DispatchWorld) -> None:
    """A swap that is billed at once makes one for what was before it; what comes after is on the one that the period's end brings."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room, invoicing(world) as billing:
        settle(world, room)
        use_and_send(world, room, 5)
        go_to(world, end_ms - 50 * MINUTE_MS)
        settle(world, room)
        _swap(world, subscription, proration_behavior="always_invoice")
        settle(world, room)
        use_and_send(world, room, 7, in_ms=2 * MINUTE_MS)
        billing.read(invoices.customers(world.ledger))
        billing.post()
        assert (world.account("invoiced"), world.account("missed_invoice")) == (5, 0)
        look_at(world, room, billing, end_ms, end_ms + 2 * HOUR_MS, end_ms + 26 * HOUR_MS, end_ms + 50 * HOUR_MS)
        assert_ends(world, missed=0, invoiced=12)


def test_what_was_used_behind_the_last_invoice_of_a_cancelled_subscription_is_missed(world: DispatchWorld) -> None:
    """Billed at once up to a swap, and then cancelled without an invoice, which is what Stripe does by itself."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    client: Any = world.emulator.client()
    with keeper(world) as room, invoicing(world) as billing:
        settle(world, room)
        use_and_send(world, room, 5)
        world.advance(DAY_MS)
        _swap(world, subscription, proration_behavior="always_invoice")
        settle(world, room)
        use_and_send(world, room, 7, in_ms=10 * MINUTE_MS)
        world.advance(HOUR_MS)
        client.v1.subscriptions.cancel(subscription, {"invoice_now": False})
        cancelled_ms = world.now_ms
        ended(world, subscription, cancelled_ms)
        look_at(world, room, billing, cancelled_ms, *[cancelled_ms + hours * HOUR_MS for hours in (2, 25, 50)])
        assert_ends(world, missed=7, invoiced=5)


def test_what_was_used_between_two_lines_is_missed(world: DispatchWorld) -> None:
    """Flexible: the second of two swaps is not prorated, which bills nothing of the price before it; lines are on both sides of it."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room, invoicing(world) as billing:
        settle(world, room)
        use_and_send(world, room, 5)
        world.advance(DAY_MS)
        _swap(world, subscription)
        settle(world, room)
        use_and_send(world, room, 7, in_ms=10 * MINUTE_MS)
        world.advance(DAY_MS)
        _swap(world, subscription, to="dearer", proration_behavior="none")
        settle(world, room)
        use_and_send(world, room, 11, in_ms=10 * MINUTE_MS)
        look_at(world, room, billing, end_ms, end_ms + 2 * HOUR_MS, end_ms + 26 * HOUR_MS, end_ms + 50 * HOUR_MS)
        assert_ends(world, missed=7, invoiced=16)


def test_what_waits_for_the_next_invoice_is_not_missed(world: DispatchWorld) -> None:
    """Flexible, a price of another interval: what was used before is a pending item, which the next invoice bills in a week."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    with keeper(world) as room, invoicing(world, 3600) as billing:
        settle(world, room)
        use_and_send(world, room, 5)
        world.advance(DAY_MS)
        swapped_ms = world.now_ms
        _swap(world, subscription, to="weekly", interval="week")
        settle(world, room)
        end_ms = period_end_ms(world, subscription)
        assert end_ms > swapped_ms + 120 * HOUR_MS
        look_at(world, room, billing, *[swapped_ms + hours * HOUR_MS for hours in (1, 25, 97, 99, 101)])
        assert (world.account("acknowledged"), world.account("missed_invoice")) == (5, 0)
        look_at(world, room, billing, end_ms, end_ms + 2 * HOUR_MS, end_ms + 26 * HOUR_MS, end_ms + 50 * HOUR_MS)
        assert_ends(world, missed=0, invoiced=5)


def test_usage_after_a_cancellation_is_a_case_also_where_a_line_once_went_further(world: DispatchWorld) -> None:
    """The coming invoice's line from the change of price on reached to the month's end, and stood for a billing period of its own."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    client: Any = world.emulator.client()
    with keeper(world) as room, invoicing(world, 3600) as billing:
        settle(world, room)
        use_and_send(world, room, 5)
        world.advance(DAY_MS)
        _swap(world, subscription)
        settle(world, room)
        use_and_send(world, room, 7, in_ms=10 * MINUTE_MS)
        look_at(world, room, billing, world.now_ms + DAY_MS)
        client.v1.subscriptions.cancel(subscription, {"invoice_now": False})
        ended(world, subscription, world.now_ms)
        world.advance(DAY_MS)
        settle(world, room)
        world.capture(make_event(event_time_ms=world.now_ms, quantity=11))
        send(world, room)
        shown = "select quantity::int, why is not null, period_start, deadline from finance.unbilled_usage where quantity = 11"
        look_at(world, room, billing, world.now_ms + 2 * HOUR_MS)
        assert world.rows(shown) == [(11, True, None, None)]
        look_at(world, room, billing, world.now_ms + DAY_MS)
        assert world.rows("select kind, quantity::int, amount_minor from finance.review_queue") == [("no_subscription", 11, 33)]
