"""A flush of usage that Stripe received and then refused.

By itself, and so with an emulator of its own: reports are read from the newest on, and other tests leave theirs in this one's future.
"""

from __future__ import annotations

from tests.makers.dispatch_world import HOUR_MS, DispatchWorld, wait_idle
from tests.makers.period_world import DAY_MS, go_to, keeper, settle, subscribe
from trueup.ledger.store import flush


def test_a_flush_is_not_done_while_stripe_shows_less_than_it_acknowledged(world: DispatchWorld) -> None:
    """Also asked again, and of usage from hours ago: the door before a cancellation says yes only for what Stripe has."""
    subscribe(world, since_ms=world.now_ms - DAY_MS)
    with keeper(world) as room:
        settle(world, room)
        world.trouble("reject")
        world.use("acme", "tokens", 7, at_ms=world.now_ms - 3 * HOUR_MS)
        with world.dispatching() as dispatch:
            for _again in range(2):
                number = flush.request(world.ledger, "acme", "over HTTP")
                wait_idle(dispatch)
                world.advance(HOUR_MS)
                room.step()
                assert not flush.state(world.ledger, number).done
        assert world.classes() == ["ack"]
        # Stripe's own report says that it will not count it.
        go_to(world, world.now_ms + 2 * DAY_MS)
        room.step()
        refused = flush.state(world.ledger, number).refused
        assert refused is not None and "Stripe refused usage of tokens" in refused
