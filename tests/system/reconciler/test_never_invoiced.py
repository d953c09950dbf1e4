"""Periods that were over when their subscription began: Stripe takes their usage, and makes no invoice for them."""

from __future__ import annotations

import pytest

from services.reconciler.core.timeline import anniversary_ms
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld
from tests.makers.period_world import DAY_MS, go_to, invoicing, keeper, period_end_ms, rounds_of, settle, standing, subscribe

WINDOW_MS = 46 * MINUTE_MS  # the meter's billing window, and a minute for the brokers' clocks


def _subscribe_backdated(world: DispatchWorld) -> int:
    """A subscription whose first period is over already; gives its end."""
    end_ms = world.now_ms // HOUR_MS * HOUR_MS - 3 * HOUR_MS
    begun_ms = next(end_ms - days * DAY_MS for days in (28, 29, 30, 31) if anniversary_ms(end_ms - days * DAY_MS, "month", 1, 1) == end_ms)
    subscribe(world, since_ms=begun_ms)
    return end_ms


def test_a_period_that_was_over_when_its_subscription_began_is_missed_and_not_closing_for_ever(world: DispatchWorld) -> None:
    """Backdated behind the end of a period: Stripe takes its usage, and makes no invoice for it."""
    end_ms = _subscribe_backdated(world)
    with keeper(world) as room, invoicing(world) as billing:
        settle(world, room)
        world.use("acme", "tokens", 7, at_ms=end_ms - HOUR_MS)
        world.pass_segment()
        settle(world, room)
        assert world.books("acme", "tokens") == (1, "7")
        deadline_ms = end_ms + 24 * HOUR_MS
        go_to(world, max(world.now_ms, end_ms + WINDOW_MS))
        settle(world, room)
        go_to(world, max(world.now_ms, deadline_ms + 71 * HOUR_MS))
        settle(world, room)
        billing.step(world.now_ms)
        assert ((standing(world)[0].status, standing(world)[0].provable), world.account("missed_invoice")) == (("closing", True), 0)
        go_to(world, deadline_ms + 73 * HOUR_MS)
        settle(world, room)
        assert ((standing(world)[0].status, standing(world)[0].provable), standing(world)[0].invoice_id) == (("settled", True), None)
        go_to(world, world.now_ms + DAY_MS)
        billing.step(world.now_ms)
        assert (world.account("acknowledged"), world.account("missed_invoice")) == (0, 7)
        assert world.rows("select quantity_missed, amount_missed_minor from ledger.invoice_posting") == [(7, 7)]
        assert world.rows("select state, amount_at_risk_minor from finance.unbilled_usage") == [("missed_invoice", 7)]
        # What the alert on missed invoices looks at, and the amount beside it.
        with rounds_of(world) as rounds:
            rounds.step()
        shown = world.registries[-1].render().decode().splitlines()
        assert 'trueup_unbilled_positions{state="missed_invoice"} 1.0' in shown
        assert 'trueup_at_risk_minor_units{currency="usd",state="missed_invoice"} 7.0' in shown
        billing.step(world.now_ms + DAY_MS)
        assert world.rows("select count(*) from ledger.invoice_posting") == [(1,)]


def test_what_another_subscription_counts_too_is_not_missed(world: DispatchWorld) -> None:
    """The first one gets no invoice for a period that was over when it began; the other's invoice bills the usage."""
    end_ms = _subscribe_backdated(world)
    other_end_ms = period_end_ms(world, subscribe(world, since_ms=end_ms - 2 * HOUR_MS, again="2"))
    with keeper(world) as room, invoicing(world) as billing:
        settle(world, room)
        world.use("acme", "tokens", 7, at_ms=end_ms - HOUR_MS)
        world.pass_segment()
        settle(world, room)
        for now_ms in (end_ms + WINDOW_MS, end_ms + 97 * HOUR_MS, end_ms + 121 * HOUR_MS):
            go_to(world, max(world.now_ms, now_ms))
            settle(world, room)
        billing.step(world.now_ms)
        assert (world.account("acknowledged"), world.account("missed_invoice")) == (7, 0)
        for now_ms in (other_end_ms + WINDOW_MS, other_end_ms + 30 * HOUR_MS, other_end_ms + 54 * HOUR_MS):
            go_to(world, now_ms)
            settle(world, room)
        billing.step(world.now_ms)
        assert (world.account("acknowledged"), world.account("missed_invoice"), world.account("invoiced")) == (0, 0, 7)


@pytest.mark.parametrize("other_goes_on", [True, False])
def test_what_a_second_subscription_cannot_bill_is_missed(world: DispatchWorld, other_goes_on: bool) -> None:
    """The usual migration: a new one is begun, the old one is cancelled without an invoice, which is what Stripe does by itself.

    The new one bills what it was there for. Where both are cancelled so, neither stands in for the other.
    """
    client = world.emulator.client()
    begun_ms = world.now_ms // HOUR_MS * HOUR_MS - 4 * HOUR_MS
    old = subscribe(world, since_ms=begun_ms)
    with keeper(world) as room, invoicing(world) as billing:
        settle(world, room)
        world.use("acme", "tokens", 7, at_ms=begun_ms + HOUR_MS)
        world.pass_segment()
        settle(world, room)
        new = subscribe(world, since_ms=begun_ms + 2 * HOUR_MS, again="2")
        settle(world, room)
        world.use("acme", "tokens", 5, at_ms=begun_ms + 3 * HOUR_MS)
        world.pass_segment()
        settle(world, room)
        assert world.books("acme", "tokens") == (2, "12")
        new_end_ms = period_end_ms(world, new)
        for subscription in (old,) if other_goes_on else (old, new):
            client.v1.subscriptions.cancel(subscription, {"invoice_now": False})
        for now_ms in (world.now_ms, world.now_ms + 2 * HOUR_MS, world.now_ms + 30 * HOUR_MS, world.now_ms + 120 * HOUR_MS):
            go_to(world, now_ms)
            settle(world, room)
            billing.step(world.now_ms)
        assert world.account("missed_invoice") == (7 if other_goes_on else 12)
        for now_ms in (new_end_ms + WINDOW_MS, new_end_ms + 30 * HOUR_MS, new_end_ms + 54 * HOUR_MS):
            go_to(world, now_ms)
            settle(world, room)
            billing.step(world.now_ms)
        ends = (world.account("acknowledged"), world.account("missed_invoice"), world.account("invoiced"))
        assert ends == ((0, 7, 5) if other_goes_on else (0, 12, 0))
        assert world.rows(
            "select sum(quantity_missed)::int, sum(amount_missed_minor)::int from ledger.invoice_posting where quantity_missed > 0"
        ) == [(ends[1], ends[1])]
