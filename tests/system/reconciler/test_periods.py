"""A billing period from its first second to its invoice, with a real Postgres and an emulated Stripe."""

from __future__ import annotations

import pytest

from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld
from tests.makers.period_world import DAY_MS, go_to, keeper, period_end_ms, settle, standing, subscribe
from trueup.ledger.store.instants import milliseconds

GRACE_MS = HOUR_MS  # of the emulator
MARGIN_MS = 10 * MINUTE_MS


def _states(world: DispatchWorld) -> list[tuple[str, bool]]:
    return [(period.status, period.provable) for period in standing(world)]


def test_a_period_from_open_to_settled(world: DispatchWorld) -> None:
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room:
        settle(world, room)
        (period,) = standing(world)
        # Until there is a draft the configured grace of 24 h says when Stripe finalizes.
        assert (period.status, milliseconds(period.deadline)) == ("open", end_ms + 24 * HOUR_MS - MARGIN_MS)
        assert room.activity().next_due_ms == (world.now_ms // DAY_MS + 1) * DAY_MS
        world.use("acme", "tokens", 5)
        world.set_now(end_ms - MINUTE_MS)
        world.use("acme", "tokens", 7)
        go_to(world, end_ms)
        settle(world, room)
        # Flushed at once, a minute before its window would have been cut, and equal to the summary.
        assert world.books("acme", "tokens") == (2, "12")
        ended, current = standing(world)
        assert (ended.status, ended.provable, ended.open_quantity) == ("closing", True, 0)
        assert milliseconds(ended.deadline) == end_ms + GRACE_MS - MARGIN_MS, "the draft says when it finalizes"
        assert (current.status, milliseconds(current.period_start)) == ("open", end_ms)
        go_to(world, end_ms + GRACE_MS + MINUTE_MS)
        settle(world, room)
        assert _states(world) == [("settled", True), ("open", False)]
        assert standing(world)[0].invoice_id is not None


@pytest.mark.parametrize("grace_hours", [1, 72])
def test_usage_that_misses_its_deadline_is_a_case(world: DispatchWorld, grace_hours: int) -> None:
    """Stripe refuses every call with 429 until the draft is final. Nothing is sent after it, and nothing is silent."""
    world.emulator.tell("settings", {"finalization_grace_seconds": grace_hours * 3_600})
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    deadline_ms = end_ms + grace_hours * HOUR_MS - MARGIN_MS
    with keeper(world) as room:
        settle(world, room)
        world.set_now(end_ms - MINUTE_MS)
        world.use("acme", "tokens", 7)
        world.trouble("429", None)
        go_to(world, end_ms)
        with world.dispatching():
            for _look in range(4):
                room.step()
        assert _states(world)[0] == ("closing", False)
        go_to(world, deadline_ms - 1_000)
        room.step()
        assert _states(world)[0] == ("closing", False)
        go_to(world, deadline_ms)
        room.step()
        assert _states(world)[0] == ("not_provable", False)
        world.take_trouble_away()
        settle(world, room)
    assert world.books("acme", "tokens") == (0, "0")
    assert world.account("in_review") == 7
    assert world.classes()[-1] == "expired"
    assert world.rows("select violations, pending from finance.proof where check_name = 'nothing_past_deadline'") == [(0, 0)]


def test_a_period_begins_at_the_second_at_which_its_subscription_does(world: DispatchWorld) -> None:
    since_ms = world.now_ms // DAY_MS * DAY_MS + 17 * MINUTE_MS + 42_000
    subscribe(world, since_ms=since_ms)
    with keeper(world) as room:
        settle(world, room)
    (period,) = standing(world)
    assert milliseconds(period.period_start) == since_ms
