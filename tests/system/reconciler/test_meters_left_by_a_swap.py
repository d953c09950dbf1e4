"""A meter that is counted per plan, and a swap of plans: what was used under the old one is billed or missed, once."""

from __future__ import annotations

from typing import Any

from tests.makers.capture_batches import make_event
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld
from tests.makers.period_world import DAY_MS, assert_ends, ended, invoicing, keeper, look_at, period_end_ms, send, settle, use_and_send


def _make_plans(world: DispatchWorld) -> None:
    """Runs are counted under one name for basic, at 3 cents, and under another for pro, at 50."""
    world.apply("tokens", plans={"runs": ("basic", "pro")})
    for plan, cents in (("basic", 3), ("pro", 50)):
        recurring = {"interval": "month", "usage_type": "metered", "meter": f"mtr_{world.event_name(f'runs-{plan}')}"}
        price = {"id": world.plan_price(plan), "currency": "usd", "product_data": {"name": plan}, "recurring": recurring}
        world.emulator.tell("prices", price | {"unit_amount": cents})


def _subscribe_to_basic(world: DispatchWorld, *, since_ms: int, again: str = "") -> str:
    identifier = f"sub_acme{again}{world.suffix}"
    wish = {"id": identifier, "customer": world.stripe_customer("acme"), "items": [{"price": world.plan_price("basic")}]}
    world.emulator.tell("subscriptions", wish | {"backdate_start_date": since_ms // 1_000, "billing_mode": {"type": "flexible"}})
    return identifier


def _swap_to_pro(world: DispatchWorld, subscription: str) -> None:
    client: Any = world.emulator.client()
    item = client.v1.subscriptions.retrieve(subscription)["items"]["data"][0]["id"]
    client.v1.subscriptions.update(subscription, {"items": [{"id": item, "price": world.plan_price("pro")}]})


def _cancel(world: DispatchWorld, subscription: str) -> None:
    """Without an invoice, which is what Stripe does by itself."""
    client: Any = world.emulator.client()
    client.v1.subscriptions.cancel(subscription, {"invoice_now": False})
    ended(world, subscription, world.now_ms)


def test_what_a_cancelled_subscription_never_bills_of_the_plan_before_is_missed(world: DispatchWorld) -> None:
    """The period's newest fact names the new plan's meter only; of both something is missed."""
    _make_plans(world)
    subscription = _subscribe_to_basic(world, since_ms=world.now_ms - HOUR_MS)
    with keeper(world) as room, invoicing(world, 3600) as billing:
        settle(world, room)
        use_and_send(world, room, 5, meter="runs")
        world.advance(DAY_MS)
        _swap_to_pro(world, subscription)
        settle(world, room)
        use_and_send(world, room, 7, meter="runs", in_ms=10 * MINUTE_MS)
        world.advance(HOUR_MS)
        _cancel(world, subscription)
        cancelled_ms = world.now_ms
        look_at(world, room, billing, cancelled_ms, *[cancelled_ms + hours * HOUR_MS for hours in (2, 25, 50)])
        assert_ends(world, missed=12, invoiced=0)
        assert world.rows("select price_id, quantity_missed from ledger.invoice_posting order by 1") == [
            (world.plan_price("basic"), 5),
            (world.plan_price("pro"), 7),
        ]


def test_what_a_second_subscription_bills_of_the_plan_before_is_not_missed_by_the_first(world: DispatchWorld) -> None:
    """Both counted basic's meter. The second left it, and its next invoice bills what was used until then; the first is cancelled."""
    _make_plans(world)
    first = _subscribe_to_basic(world, since_ms=world.now_ms - HOUR_MS)
    second = _subscribe_to_basic(world, since_ms=world.now_ms - 2 * HOUR_MS, again="2")
    end_ms = period_end_ms(world, second)
    with keeper(world) as room, invoicing(world, 3600) as billing:
        settle(world, room)
        use_and_send(world, room, 5, meter="runs")
        world.advance(HOUR_MS)
        _swap_to_pro(world, second)
        settle(world, room)
        world.advance(HOUR_MS)
        _cancel(world, first)
        cancelled_ms = world.now_ms
        look_at(world, room, billing, cancelled_ms, cancelled_ms + 2 * HOUR_MS, cancelled_ms + 25 * HOUR_MS)
        assert (world.account("acknowledged"), world.account("missed_invoice")) == (5, 0)
        look_at(world, room, billing, end_ms, end_ms + 2 * HOUR_MS, end_ms + 26 * HOUR_MS, end_ms + 50 * HOUR_MS)
        assert_ends(world, missed=0, invoiced=5)


def test_what_a_swap_left_for_the_coming_invoice_is_nobodys_case(world: DispatchWorld) -> None:
    """An ordinary change of plan: eight days later the desk was asked about usage that the next invoice bills, as if nothing would."""
    _make_plans(world)
    subscription = _subscribe_to_basic(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room, invoicing(world, 3600) as billing:
        settle(world, room)
        world.capture(make_event(event_time_ms=world.now_ms, meter="runs", quantity=5))
        send(world, room)
        world.advance(DAY_MS)
        _swap_to_pro(world, subscription)
        settle(world, room)
        swapped_ms = world.now_ms
        look_at(world, room, billing, swapped_ms + 8 * DAY_MS)
        assert world.rows("select kind from finance.review_queue") == []
        shown = "select state, quantity::int, why, period_end = to_timestamp(%s), deadline is not null, amount_at_risk_minor"
        assert world.rows(shown % (end_ms // 1_000) + " from finance.unbilled_usage") == [
            ("acknowledged_not_invoiced", 5, None, True, True, 15)
        ]
        look_at(world, room, billing, end_ms, end_ms + 2 * HOUR_MS, end_ms + 26 * HOUR_MS, end_ms + 50 * HOUR_MS)
        assert_ends(world, missed=0, invoiced=5)
        assert world.rows("select kind from finance.review_queue") == []


def test_each_plans_usage_is_worth_its_own_plans_price(world: DispatchWorld) -> None:
    """One item, one period, two meters: whichever line was read last priced the usage of both."""
    _make_plans(world)
    subscription = _subscribe_to_basic(world, since_ms=world.now_ms - HOUR_MS)
    with keeper(world) as room, invoicing(world, 3600) as billing:
        settle(world, room)
        use_and_send(world, room, 5, meter="runs")
        world.advance(DAY_MS)
        look_at(world, room, billing, world.now_ms)
        _swap_to_pro(world, subscription)
        world.advance(DAY_MS)
        settle(world, room)
        # Nobody has read a line of pro yet: nothing says what its runs cost, and basic's price does not.
        world.capture(make_event(event_time_ms=world.now_ms, meter="runs", quantity=2))
        worth = "select state, quantity::int, amount_at_risk_minor from finance.unbilled_usage order by 1, 2"
        assert world.rows(worth) == [("acknowledged_not_invoiced", 5, 15), ("unsent", 2, None)]
        use_and_send(world, room, 7, meter="runs", in_ms=10 * MINUTE_MS)
        look_at(world, room, billing, world.now_ms + HOUR_MS)
        priced = "select sum(quantity)::int, sum(amount_at_risk_minor)::int from finance.unbilled_usage group by quantity <> 5 order by 1"
        assert world.rows(priced) == [(5, 15), (9, 450)]
        world.capture(make_event("e2", event_time_ms=world.now_ms, meter="runs", quantity=4))
        shown = "select open_quantity::int, unproved_amount_minor from finance.period_status where subscription_id = %s"
        assert world.rows(shown, subscription) == [(4, 200)]


def test_what_was_used_before_a_swap_keeps_its_price_wherever_it_is_shown(world: DispatchWorld) -> None:
    """Late usage, what is taken back, and the month's books: each by the plan of its instant, not by the one that came later."""
    _make_plans(world)
    subscription = _subscribe_to_basic(world, since_ms=world.now_ms - HOUR_MS)
    with keeper(world) as room, invoicing(world, 3600) as billing:
        settle(world, room)
        before_ms = world.now_ms + MINUTE_MS
        use_and_send(world, room, 50, meter="runs")
        world.advance(DAY_MS)
        _swap_to_pro(world, subscription)
        world.advance(DAY_MS)
        settle(world, room)
        use_and_send(world, room, 7, meter="runs", in_ms=10 * MINUTE_MS)
        look_at(world, room, billing, world.now_ms + HOUR_MS)
        world.capture(make_event("late", event_time_ms=before_ms, meter="runs", quantity=10), late=True)
        world.capture(make_event("back", event_time_ms=before_ms, meter="runs", quantity=-2, reason="refund"))
        world.capture(make_event("late-pro", event_time_ms=world.now_ms - HOUR_MS, meter="runs", quantity=1, source="other"), late=True)
        case = "select quantity::int, amount_minor from finance.review_queue order by 1"
        assert world.rows(case) == [(1, 50), (10, 30)]
        assert world.rows("select quantity::int, amount_minor from finance.adjustments") == [(-2, -6)]
        billing.value()
        books = "select usage_quantity::int, corrections_quantity::int, usage_minor, corrections_minor from finance.roll_forward"
        assert world.rows(books) == [(68, -2, 68 * 3 - 8 * 3 + 8 * 50, -6)]
