"""Usage of a period's last, broken minute that Stripe received and then refused. By itself: see test_refused_afterwards."""

from __future__ import annotations

from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld
from tests.makers.period_world import go_to, keeper, period_end_ms, settle, standing, subscribe
from trueup.contracts.events import UsageEvent

WINDOW_MS = 46 * MINUTE_MS  # the meter's billing window, and a minute for the brokers' clocks
SECONDS_OVER_MS = 42_000


def test_a_summary_is_read_to_the_minute_after_the_end(world: DispatchWorld) -> None:
    """Summaries are of whole minutes: read to the one before, they would not show what the last seconds of the period lack."""
    subscription = subscribe(world, since_ms=world.now_ms // MINUTE_MS * MINUTE_MS - HOUR_MS + SECONDS_OVER_MS)
    end_ms = period_end_ms(world, subscription)
    assert end_ms % MINUTE_MS == SECONDS_OVER_MS, "else the test shows nothing"
    with keeper(world) as room:
        settle(world, room)
        at_ms = end_ms - 2_000
        world.set_now(at_ms)
        world.trouble("reject")
        world.capture(UsageEvent("e1", "inference", at_ms, "tokens", "acme", 7, None, None, {}))
        # Its draft, the last usage that is on time, the deadline, and the final invoice.
        for now_ms in (end_ms, end_ms + WINDOW_MS, end_ms + HOUR_MS - 10 * MINUTE_MS, end_ms + 2 * HOUR_MS):
            go_to(world, now_ms)
            settle(world, room)
        assert world.classes() == ["ack"]
        ended, _current = standing(world, "acme")
    assert (ended.status, ended.provable) == ("not_provable", False)
    assert ended.why_not is not None and "short by 7" in ended.why_not
