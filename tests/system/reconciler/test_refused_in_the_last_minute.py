"""Usage of a period's last, broken minute that Stripe received and then refused. By itself: see test_refused_afterwards."""

from __future__ import annotations

from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld
from tests.makers.period_world import go_to, keeper, period_end_ms, settle, standing, subscribe
from trueup.contracts.events import UsageEvent
from trueup.ledger.store.instants import instant

WINDOW_MS = 46 * MINUTE_MS  # the meter's billing window, and a minute for the brokers' clocks
SECONDS_OVER_MS = 42_000
GRACE_MS = 6 * HOUR_MS
DEADLINE_MS = GRACE_MS - 10 * MINUTE_MS


def test_a_summary_is_read_to_the_minute_after_the_end(world: DispatchWorld) -> None:
    """Summaries are of whole minutes: read to the one before, they would not show what the last seconds of the period lack.

    Nor is a shortfall one while Stripe may still be counting.
    """
    world.emulator.tell("settings", {"finalization_grace_seconds": GRACE_MS // 1_000})
    subscription = subscribe(world, since_ms=world.now_ms // MINUTE_MS * MINUTE_MS - HOUR_MS + SECONDS_OVER_MS)
    end_ms = period_end_ms(world, subscription)
    assert end_ms % MINUTE_MS == SECONDS_OVER_MS, "else the test shows nothing"
    with keeper(world) as room:
        settle(world, room)
        at_ms = end_ms - 2_000
        world.set_now(at_ms)
        world.trouble("reject")
        world.capture(UsageEvent("e1", "inference", at_ms, "tokens", "acme", 7, None, None, {}))
        drafted_ms = end_ms + HOUR_MS
        seen = []
        # Its draft, the last usage that is on time, what Stripe may still be counting and no longer, the deadline, and the final invoice.
        for now_ms in (end_ms, end_ms + WINDOW_MS, drafted_ms, drafted_ms + 2 * HOUR_MS, end_ms + DEADLINE_MS, end_ms + GRACE_MS + HOUR_MS):
            go_to(world, now_ms)
            settle(world, room)
            seen.append([one.why_not for one in standing(world, "acme") if one.period_end <= instant(end_ms)])
        assert world.classes() == ["ack"]
        ended, _current = standing(world, "acme")
    assert seen[2:] == [["Stripe's summary does not show 7 yet"]] + 3 * [["Stripe's summary is short by 7, and stays so"]]
    assert (ended.status, ended.provable) == ("not_provable", False)
