"""Twenty hours after a call that may have arrived nothing is sent again: Stripe forgets identifiers, and would count twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.stripe_sink.app.dispatch import DispatchLimits
from services.stripe_sink.app.dispatch_sender import SenderLimits
from services.stripe_sink.core.dispatch_wait import BackOff
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, QUICK, DispatchWorld, make_meters, wait_for, wait_idle
from trueup.ledger.intents import LARGEST_VALUE
from trueup.ledger.store.dispatch import arming, lanes

PATIENT = DispatchLimits(senders=1, look_seconds=0.02, sender=SenderLimits(lease_seconds=4.0, back_off=BackOff(3_600.0, 3_600.0)))


def make_unknown(world: DispatchWorld, kind: str) -> None:
    """An intent whose one call met a fault."""
    world.trouble(kind)
    world.use("acme", "tokens", 5)
    world.pass_segment()
    with world.dispatching(limits=PATIENT):
        wait_for(lambda: "unknown" in world.classes())
    world.ledger.execute("update ops.lane_state set leased_until = '-infinity'")  # the hour's wait is over
    assert world.classes() == ["unknown"]


@pytest.mark.parametrize(("kind", "landed"), [("drop_after", 5), ("drop_before", 0)])
def test_horizon_passed_is_settled_by_two_readings_and_counts_once(world: DispatchWorld, kind: str, landed: int) -> None:
    """After an outage of a day Stripe has forgotten the identifier. Sending again would double what landed."""
    make_unknown(world, kind)
    world.advance(25 * HOUR_MS)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert world.account("in_flight") == 5
        world.advance(15 * MINUTE_MS)
        wait_idle(dispatch)
        assert world.rows("select quantity_unknown, quantity_landed, quantity_remainder from ledger.settlement") == [
            (5, landed, 5 - landed)
        ]
        assert world.account("in_flight") == 0
        world.pass_segment()
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "5")
    assert (world.account("unsent"), world.account("acknowledged")) == (0, 5)
    assert world.emulator.ask("books")["counted_again"] == 0


def use_more_than_a_float_shows(world: DispatchWorld) -> None:
    """Ten windows of 15 digits that are sent, and one unit whose call met a fault."""
    hour_ms = (world.now_ms // HOUR_MS + 1) * HOUR_MS
    with world.dispatching() as dispatch:
        for window in range(10):
            world.set_now(hour_ms + window * 5 * MINUTE_MS + MINUTE_MS)
            world.use("acme", "tokens", LARGEST_VALUE)
            world.pass_segment()
            wait_idle(dispatch)
    world.set_now(hour_ms + 51 * MINUTE_MS)
    world.trouble("drop_after")
    world.use("acme", "tokens", 1)
    world.pass_segment()
    with world.dispatching(limits=PATIENT):
        wait_for(lambda: "unknown" in world.classes())
    world.ledger.execute("update ops.lane_state set leased_until = '-infinity'")
    world.advance(25 * HOUR_MS)


def test_an_hour_of_more_digits_than_a_float_shows_is_settled_minute_by_minute(world: DispatchWorld) -> None:
    """Ten windows of 15 digits and one unit more: the hour's own summary is a double that has no odd numbers left."""
    use_more_than_a_float_shows(world)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        world.advance(15 * MINUTE_MS)
        wait_idle(dispatch)
    assert world.rows("select quantity_unknown, quantity_landed from ledger.settlement") == [(1, 1)]
    assert world.books("acme", "tokens") == (11, str(10 * LARGEST_VALUE + 1))


def test_sixty_readings_that_outlast_a_lease_are_not_taken_away_by_another_sink(world: DispatchWorld) -> None:
    """Two sinks that took the lane from each other whenever a lease ran out would read for ever, and settle nothing."""
    use_more_than_a_float_shows(world)
    lease_seconds = make_meters(world.emulator.url).longest_call_seconds
    limits = replace(QUICK, settle_lease_seconds=lease_seconds)
    world.emulator.tell("settings", {"latency_seconds": 2 * lease_seconds / 60})
    with world.dispatching(limits=limits) as first, world.dispatching(limits=limits) as second:
        wait_idle(first, second, seconds=90)
        assert world.rows("select quantity from ops.settle_read") == [(10 * LARGEST_VALUE + 1,)]


def test_a_reading_from_before_the_last_call_of_the_hour_does_not_count(world: DispatchWorld) -> None:
    """A deadline that moved let the hour go on after its first reading; two readings agree only when both are of the same hour."""
    make_unknown(world, "drop_after")
    world.advance(25 * HOUR_MS)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert world.rows("select quantity from ops.settle_read") == [(5,)]
    world.ledger.execute("update ops.settle_read set read_at = read_at - interval '26 hours'")
    world.advance(15 * MINUTE_MS)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert world.rows("select count(*) from ledger.settlement") == [(0,)], "that reading is a first one again"
        world.advance(15 * MINUTE_MS)
        wait_idle(dispatch)
    assert world.rows("select quantity_landed from ledger.settlement") == [(5,)]


def test_last_minute_of_the_horizon_still_sends(world: DispatchWorld) -> None:
    """Nineteen hours and fifty-nine minutes after, Stripe remembers."""
    make_unknown(world, "drop_after")
    world.advance(20 * HOUR_MS - MINUTE_MS)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert world.classes()[-1] in ("ack", "ack_duplicate")
    assert world.books("acme", "tokens") == (1, "5")


def test_the_twentieth_hour_itself_sends_nothing_and_reads(world: DispatchWorld) -> None:
    """What picks, what settles, what is shown and what the street's clock goes to next all mean the same instant.

    Stripe forgets after 24 hours at the soonest: four of them are kept for a call that is slow and a clock that is wrong.
    """
    make_unknown(world, "drop_after")
    horizon_ms = world.now_ms + 20 * HOUR_MS
    assert {item.state: item.deadline_ms for item in arming.outbox(world.ledger)} == {"unknown": horizon_ms}
    assert lanes.work(world.ledger).next_horizon_ms == horizon_ms
    world.set_now(horizon_ms - 1)
    assert (lanes.work(world.ledger).to_send, lanes.work(world.ledger).to_settle) == (1, 0)
    world.set_now(horizon_ms)
    assert (lanes.work(world.ledger).to_send, lanes.work(world.ledger).to_settle) == (0, 1)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert world.rows("select quantity from ops.settle_read") == [(5,)], "the hour is being read"
        assert world.classes() == ["unknown"]
        assert world.rows("select count(*) from ledger.attempt") == [(1,)], "nothing is sent again"


def test_refused_calls_start_no_horizon(world: DispatchWorld) -> None:
    """A day of 429 is a day in which nothing arrived."""
    world.trouble("429", None)
    world.use("acme", "tokens", 5)
    world.pass_segment()
    with world.dispatching():
        wait_for(lambda: len(world.classes()) > 2)
    world.take_trouble_away()
    world.advance(30 * HOUR_MS)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert set(world.classes()) == {"retry", "ack"}
    assert world.books("acme", "tokens") == (1, "5")


def test_hour_of_an_unknown_intent_stands_still_and_others_go_on(world: DispatchWorld) -> None:
    """New usage of the hour that is being read would spoil the reading; the next hour is no part of it."""
    make_unknown(world, "drop_after")
    same_hour_ms = world.now_ms - 2 * MINUTE_MS
    world.advance(25 * HOUR_MS)
    world.use("acme", "tokens", 7, at_ms=same_hour_ms)
    world.use("acme", "tokens", 11)
    with world.dispatching() as dispatch:
        world.pass_segment()
        wait_idle(dispatch)
        assert world.books("acme", "tokens") == (2, "16")
        world.advance(15 * MINUTE_MS)
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (3, "23")
    assert world.account("in_flight") == 0


def test_two_readings_that_differ_begin_anew(world: DispatchWorld) -> None:
    """Summaries lag: a figure counts only when a quarter of an hour changed nothing."""
    make_unknown(world, "drop_before")
    event_ms = world.now_ms - 2 * MINUTE_MS
    world.advance(25 * HOUR_MS)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        # Late news at Stripe: the event that looked lost shows up after the first reading.
        world.emulator.client().v1.billing.meter_events.create(
            {
                "event_name": world.event_name("tokens"),
                "payload": {"stripe_customer_id": world.stripe_customer("acme"), "value": "5"},
                "timestamp": event_ms // 1_000,
            }
        )
        world.advance(15 * MINUTE_MS)
        wait_idle(dispatch)
        assert world.rows("select count(*) from ledger.settlement") == [(0,)]
        world.advance(15 * MINUTE_MS)
        wait_idle(dispatch)
    assert world.rows("select quantity_landed from ledger.settlement") == [(5,)]


@pytest.mark.parametrize(("value", "reason"), [("6", "stripe_has_more"), ("-1", "stripe_has_less"), ("3", "no_set_explains_summary")])
def test_summary_that_unknown_usage_cannot_explain_is_for_a_person(world: DispatchWorld, value: str, reason: str) -> None:
    """Where Stripe shows what we never sent, nothing is settled by guessing."""
    make_unknown(world, "drop_before")
    world.emulator.client().v1.billing.meter_events.create(
        {
            "event_name": world.event_name("tokens"),
            "payload": {"stripe_customer_id": world.stripe_customer("acme"), "value": value},
            "timestamp": (world.now_ms - 2 * MINUTE_MS) // 1_000,
        }
    )
    world.advance(25 * HOUR_MS)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        world.advance(15 * MINUTE_MS)
        wait_idle(dispatch)
    assert [lane.reason for lane in arming.status(world.ledger).halted_lanes] == [reason]
    assert world.account("in_flight") == 5
    assert world.rows("select count(*) from ledger.settlement") == [(0,)]
