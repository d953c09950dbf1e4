"""Notifications one by one, in orders that Stripe may send them in.

By itself, and so with an emulator of its own: these go on for long, and other tests count what was not told in their future.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from services.reconciler.app.period_room import PeriodRoom
from tests.makers.dispatch_world import MINUTE_MS, DispatchWorld
from tests.makers.period_world import DAY_MS, events_of, go_to, keeper, period_end_ms, standing, subscribe, webhook_of
from trueup.ledger.store.instants import milliseconds

MARGIN_MS = 10 * MINUTE_MS
FIRST_TYPES = ("customer.subscription.created", "customer.subscription.updated", "invoice.created")


def _ended(world: DispatchWorld, room: PeriodRoom, customer: str) -> str:
    """A customer whose period ends now and is known to be closing; gives its draft's id."""
    since_ms = world.now_ms - 29 * DAY_MS
    subscription = subscribe(world, since_ms=since_ms, customer=customer)
    _look(world, room, {world.stripe_customer(customer)})
    go_to(world, period_end_ms(world, subscription))
    _look(world, room, {world.stripe_customer(customer)})
    (draft,) = world.emulator.client().v1.invoices.list({"customer": world.stripe_customer(customer), "status": "draft"}).data
    return draft.id


def _look(world: DispatchWorld, room: PeriodRoom, stripe_customers: Collection[str]) -> None:
    assert room._parts.periods.look(stripe_customers, world.now_ms) == 0


def _move(world: DispatchWorld, draft: str, minutes: int) -> int:
    """The draft becomes final so many minutes from now; gives the deadline which that makes."""
    at_ms = world.now_ms + minutes * MINUTE_MS
    world.emulator.client().v1.invoices.update(draft, {"automatically_finalizes_at": at_ms // 1_000})
    return at_ms - MARGIN_MS


def test_one_by_one_in_any_order_each_is_followed_and_the_end_is_the_same(world: DispatchWorld) -> None:
    """No look but those they hint at: what Stripe changed since the last one is learnt from whichever comes next, the oldest too."""
    world.emulator.tell("settings", {"finalization_grace_seconds": 4 * 3_600})
    shuffled = random.Random(11)
    orders = [range(6), range(5, -1, -1), shuffled.sample(range(6), 6), shuffled.sample(range(6), 6)]
    ends = set()
    with keeper(world) as room:
        for number, order in enumerate(orders):
            customer = f"order-{number}"
            world.map(customer)
            draft = _ended(world, room, customer)
            for minutes in (100, 101, 102):
                _move(world, draft, minutes)
            six = events_of(world, customer)
            assert sorted(event["type"] for event in six) == [*FIRST_TYPES, *["invoice.updated"] * 3]
            for turn, event in enumerate(six[place] for place in order):
                deadline_ms = _move(world, draft, 120 + turn)
                hints = room._parts.notifications.keep([webhook_of(event, world.now_ms)])
                assert hints == {world.stripe_customer(customer)}, (order, turn)
                _look(world, room, hints)
                assert milliseconds(standing(world, customer)[0].deadline) == deadline_ms, (order, turn)
                assert room._parts.notifications.keep([webhook_of(event, world.now_ms)]) == frozenset(), "told twice"
            go_to(world, world.now_ms + 130 * MINUTE_MS)
            rest = [webhook_of(event, world.now_ms) for event in events_of(world, customer) if event not in six]
            assert {webhook.type for webhook in rest} >= {"invoice.finalized", "invoice.paid"}
            shuffled.shuffle(rest)
            for webhook in rest:
                _look(world, room, room._parts.notifications.keep([webhook]))
            ends.add(tuple([(period.status, period.provable, period.why_not) for period in standing(world, customer)]))
    assert ends == {(("settled", True, None), ("open", False, "the period has not ended"))}


def test_of_two_in_one_second_the_second_is_followed_whatever_its_id(world: DispatchWorld) -> None:
    """Stripe dates events by the second, and their ids say nothing of the order."""
    with keeper(world) as room:
        draft = _ended(world, room, "acme")
        for event_id, minutes in (("evt_9", 40), ("evt_1", 30)):
            deadline_ms = _move(world, draft, minutes)
            newest = next(event for event in events_of(world) if event["type"] == "invoice.updated")
            _look(world, room, room._parts.notifications.keep([webhook_of(newest | {"id": event_id}, world.now_ms)]))
            assert milliseconds(standing(world)[0].deadline) == deadline_ms
