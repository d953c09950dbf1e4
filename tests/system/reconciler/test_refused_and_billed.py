"""Usage that Stripe received and then refused, up to the invoice that bills the rest. By itself: see test_refused_afterwards."""

from __future__ import annotations

from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld
from tests.makers.period_world import DAY_MS, go_to, invoicing, keeper, period_end_ms, settle, subscribe

WINDOW_MS = 46 * MINUTE_MS


def test_the_invoice_bills_what_was_not_refused(world: DispatchWorld) -> None:
    subscription = subscribe(world, since_ms=world.now_ms - DAY_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room, invoicing(world) as billing:
        settle(world, room)
        world.trouble("reject")
        world.use("acme", "tokens", 80, at_ms=world.now_ms)
        world.pass_segment()
        settle(world, room)
        go_to(world, world.now_ms + 6 * HOUR_MS)
        world.use("acme", "tokens", 10, at_ms=world.now_ms)
        world.pass_segment()
        settle(world, room)
        go_to(world, world.now_ms + 2 * DAY_MS)
        settle(world, room)
        states = "select state, quantity_smallest::int from finance.unbilled_usage order by hour"
        assert world.rows(states) == [("rejected", 80), ("acknowledged_not_invoiced", 10)]
        legs = "select account_id, sum(quantity)::int from derived.customer_leg where account_id in (4, 7) group by 1 order by 1"
        assert world.rows(legs) == [(4, 10), (7, 80)]
        for now_ms in (end_ms + WINDOW_MS, end_ms + 30 * HOUR_MS, end_ms + 54 * HOUR_MS):
            go_to(world, now_ms)
            settle(world, room)
            billing.step(world.now_ms)
        divided = """select i.quantity::int, a.quantity_invoiced::int, a.quantity_missed::int
            from ledger.invoice_allocation a join ledger.intent i using (intent_id) order by i.intent_id"""
        assert world.rows(divided) == [(80, 0, 80), (10, 10, 0)]
        assert world.rows("select state, quantity_smallest::int from finance.unbilled_usage") == [("missed_invoice", 80)]
