"""A billing period from its first second to its invoice, with a real Postgres and an emulated Stripe."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Producer

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from services.stripe_sink.app.dispatch import DispatchLimits
from services.stripe_sink.app.dispatch_sender import SenderLimits
from services.stripe_sink.core.dispatch_wait import BackOff
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld, wait_for
from tests.makers.period_world import DAY_MS, go_to, keeper, keeper_page, period_end_ms, settle, standing, subscribe
from tests.system.emulator.running import API_KEY
from trueup.contracts.errors import Broken
from trueup.contracts.topics import TopicNames
from trueup.ledger.store import customers, flush
from trueup.ledger.store.deployment import Deployment
from trueup.ledger.store.instants import milliseconds
from trueup.runtime.kafka import producer_options
from trueup.runtime.settings import StreetSettings

GRACE_MS = HOUR_MS  # of the emulator
MARGIN_MS = 10 * MINUTE_MS
UNHURRIED = DispatchLimits(
    senders=1,
    look_seconds=0.02,
    settle_lease_seconds=60.0,
    sender=SenderLimits(lanes_at_once=4, lease_seconds=60.0, back_off=BackOff(first_seconds=0.01, longest_seconds=0.1)),
)
WINDOW_MS = 46 * MINUTE_MS  # the meter's billing window, and a minute for the brokers' clocks


def _states(world: DispatchWorld) -> list[tuple[str, bool]]:
    return [(period.status, period.provable) for period in standing(world)]


def test_a_period_from_open_to_settled(world: DispatchWorld) -> None:
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room:
        settle(world, room)
        (period,) = standing(world, "acme")
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
        ended, current = standing(world, "acme")
        assert (ended.status, ended.provable, ended.why_not) == ("closing", False, "not known to be captured")
        # Usage of its last second may arrive for as long as the billing window goes on.
        go_to(world, end_ms + WINDOW_MS - MINUTE_MS)
        settle(world, room)
        assert room.activity().next_due_ms == end_ms + WINDOW_MS
        go_to(world, end_ms + WINDOW_MS)
        settle(world, room)
        ended, current = standing(world, "acme")
        assert (ended.status, ended.provable, ended.open_quantity) == ("closing", True, 0)
        assert milliseconds(ended.deadline) == end_ms + GRACE_MS - MARGIN_MS, "the draft says when it finalizes"
        assert (current.status, milliseconds(current.period_start)) == ("open", end_ms)
        go_to(world, end_ms + GRACE_MS + MINUTE_MS)
        settle(world, room)
        assert _states(world) == [("settled", True), ("open", False)]
        assert standing(world)[0].invoice_id is not None


def test_a_period_of_the_stripe_customer_before_goes_on_to_its_end(world: DispatchWorld) -> None:
    """Also in another life of the room, which finds the customer mapped to another."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room:
        settle(world, room)
        world.use("acme", "tokens", 7)
        world.pass_segment()
        settle(world, room)
    world.emulator.tell("customers", {"id": "cus_successor" + world.suffix, "name": "acme"})
    customers.map_customer(world.ledger, "acme", "cus_successor" + world.suffix, reason="test", recorded_by="test")
    with keeper(world) as again:
        go_to(world, end_ms)
        settle(world, again)
        go_to(world, end_ms + WINDOW_MS)
        settle(world, again)
        assert _states(world)[0] == ("closing", True)
        go_to(world, end_ms + GRACE_MS + MINUTE_MS)
        settle(world, again)
        assert _states(world)[0] == ("settled", True)


@pytest.mark.parametrize(("grace_hours", "sink_looks_first"), [(1, False), (1, True), (72, False)])
def test_usage_that_misses_its_deadline_is_a_case(world: DispatchWorld, grace_hours: int, sink_looks_first: bool) -> None:
    """Stripe refuses every call with 429 until the draft is final. Nothing is sent after it, and nothing is silent.

    Whoever looks first: once the sink has given it to a person nothing of it is open, and the period's close is no more proved for that.
    """
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
        # Called and refused, and answered for sure: a call given up on a busy machine may have arrived, and is read, not expired.
        patient = StripeMeters(API_KEY, world.emulator.url, connect_timeout_seconds=10.0, read_timeout_seconds=30.0)
        with world.dispatching(limits=UNHURRIED, meters=patient):
            for _look in range(4):
                room.step()
            wait_for(lambda: "retry" in world.classes(), 60.0)
        assert set(world.classes()) == {"retry"}
        assert _states(world)[0] == ("closing", False)
        go_to(world, deadline_ms - 1_000)
        room.step()
        assert _states(world)[0] == ("closing", False)
        go_to(world, deadline_ms)
        if sink_looks_first:
            with world.dispatching():
                wait_for(lambda: "expired" in world.classes(), 60.0)
        room.step()
        assert _states(world)[0] == ("not_provable", False)
        world.take_trouble_away()
        settle(world, room)
    assert world.books("acme", "tokens") == (0, "0")
    assert world.account("in_review") == 7
    assert world.classes()[-1] == "expired"
    assert world.rows("select violations, pending from finance.proof where check_name = 'nothing_past_deadline'") == [(0, 0)]


def test_a_period_whose_price_was_swapped_is_settled_with_its_invoice(world: DispatchWorld) -> None:
    """Classic: the invoice's only line begins at the swap. What Stripe had received before is on none."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS, mode="classic")
    end_ms = period_end_ms(world, subscription)
    client: Any = world.emulator.client()
    with keeper(world) as room:
        world.use("acme", "tokens", 5)
        world.pass_segment()
        settle(world, room)
        world.advance(DAY_MS)
        name = world.event_name("tokens")
        recurring = {"interval": "month", "usage_type": "metered", "meter": f"mtr_{name}"}
        price = {"id": f"dear_{name}", "currency": "usd", "product_data": {"name": "dear"}, "recurring": recurring, "unit_amount": 3}
        world.emulator.tell("prices", price)
        item = client.v1.subscriptions.retrieve(subscription)["items"]["data"][0]["id"]
        client.v1.subscriptions.update(subscription, {"items": [{"id": item, "price": price["id"]}]})
        world.use("acme", "tokens", 7)
        world.pass_segment()
        settle(world, room)
        go_to(world, end_ms)
        settle(world, room)
        go_to(world, end_ms + WINDOW_MS)
        settle(world, room)
        go_to(world, end_ms + GRACE_MS + MINUTE_MS)
        settle(world, room)
        ended, current = standing(world, "acme")
        assert (ended.status, ended.provable, current.status) == ("settled", True, "open")


@pytest.mark.parametrize("invoice_now", [True, False])
def test_a_subscription_that_is_cancelled_comes_to_an_end(world: DispatchWorld, invoice_now: bool) -> None:
    """Its invoice may be made and paid at once: what was sent is proved after it. Without one it ends when none can come any more."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    with keeper(world) as room:
        settle(world, room)
        world.use("acme", "tokens", 5)
        world.pass_segment()
        settle(world, room)
        # Just before a sweep, so that the first look after it finds everything at once.
        go_to(world, (world.now_ms // DAY_MS + 1) * DAY_MS)
        world.emulator.client().v1.subscriptions.cancel(subscription, {"invoice_now": invoice_now})
        cancelled_ms = world.now_ms
        go_to(world, cancelled_ms)
        for at_ms in (0, MINUTE_MS, 24 * HOUR_MS, 25 * HOUR_MS):
            go_to(world, cancelled_ms + at_ms)
            settle(world, room)
        (period,) = standing(world, "acme")
        assert (period.status, period.provable, period.invoice_id is not None) == ("settled", True, invoice_now)


def test_a_period_begins_at_the_second_at_which_its_subscription_does(world: DispatchWorld) -> None:
    since_ms = world.now_ms // DAY_MS * DAY_MS + 17 * MINUTE_MS + 42_000
    subscribe(world, since_ms=since_ms)
    with keeper(world) as room:
        settle(world, room)
    (period,) = standing(world)
    assert milliseconds(period.period_start) == since_ms


@pytest.mark.parametrize("captured_in_time", [True, False])
def test_a_close_waits_for_what_lies_on_the_source_topic(
    world: DispatchWorld, kafka_settings: StreetSettings, captured_in_time: bool
) -> None:
    """One event that arrived inside the window and is not captured; the other partitions are idle, and still asked about."""
    world.emulator.tell("settings", {"aggregation_lag_maximum_seconds": 0})
    end_ms = period_end_ms(world, subscribe(world, since_ms=world.now_ms - HOUR_MS))
    with keeper(world, kafka_settings) as room:
        settle(world, room)
        world.use("acme", "tokens", 7)
        go_to(world, end_ms)
        settle(world, room)
        producer = Producer(producer_options(kafka_settings))
        producer.produce(TopicNames(kafka_settings.topic_prefix).usage_events, b"usage", "acme", partition=3)
        assert producer.flush(30) == 0
        go_to(world, end_ms + WINDOW_MS)
        settle(world, room)
        assert (_states(world)[0], standing(world)[0].why_not) == (("closing", False), "not known to be captured")
        wait_for(lambda: room.step() >= 0 and room.activity().why == "usage on the source topic is not captured yet")
        if captured_in_time:
            _capture(world, partition=3, next_offset=1)
            settle(world, room)
            assert _states(world)[0] == ("closing", True)
        go_to(world, end_ms + GRACE_MS + MINUTE_MS)
        settle(world, room)
        assert _states(world)[0] == (("settled", True) if captured_in_time else ("not_provable", False))
        if not captured_in_time:
            reasons = world.rows("select status_reason from finance.period_status where status = 'not_provable' and customer_id = 'acme'")
            assert reasons == [("not known to be captured",)]


def _capture(world: DispatchWorld, partition: int, next_offset: int) -> None:
    """A captured batch of a partition: of its columns only the offsets matter here."""
    world.ledger.execute(
        """insert into ledger.source_batch
           select (jsonb_populate_record(null::ledger.source_batch, (
               select jsonb_object_agg(c.column_name, 0) from information_schema.columns c
               where c.table_schema = 'ledger' and c.table_name = 'source_batch' and c.column_name <> 'last_arrival'
           ) || jsonb_build_object('source_partition', %s::int, 'next_offset', %s::int))).*""",
        (partition, next_offset),
    )


@pytest.mark.parametrize("throttled", [False, True])
def test_periods_are_closed_by_our_own_clock_while_stripe_does_not_answer(world: DispatchWorld, throttled: bool) -> None:
    """What is due is flushed, and what is not provable at the deadline is said then, not when Stripe is back.

    What is provable is called settled only when somebody has looked for its invoice.
    """
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room:
        settle(world, room)
        world.set_now(end_ms - MINUTE_MS)
        world.use("acme", "tokens", 7)
        world.emulator.tell("faults", [{"path": "/v1/subscriptions", "kind": "500_before", "count": None}])
        if throttled:
            world.trouble("429", None)
        go_to(world, end_ms)
        with world.dispatching():
            for _look in range(4):
                room.step()
            wait_for(lambda: bool(world.classes()))
        assert world.books("acme", "tokens") == ((0, "0") if throttled else (1, "7")), "flushed at its end"
        assert _states(world) == [("closing", False)]
        assert not room.health().ok
        world.emulator.tell("faults", [{"path": "/v1/invoices", "kind": "500_before", "count": None}])
        go_to(world, end_ms + 25 * HOUR_MS)
        room.step()
        assert _states(world) == ([("not_provable", False)] if throttled else [("closing", True)])
        assert ('trueup_periods_not_provable{currency="usd"} 1.0' in keeper_page(world)) is throttled
        world.take_trouble_away()


def test_a_keeper_that_starts_while_stripe_does_not_say_whose_key_it_has_judges_by_what_is_held(world: DispatchWorld) -> None:
    """Stripe is away, or the key was revoked: flushes are asked for and deadlines are kept. Nothing is read, for it may be another's."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room:
        settle(world, room)
    world.set_now(end_ms - MINUTE_MS)
    world.use("acme", "tokens", 7)
    go_to(world, end_ms)
    world.emulator.tell("faults", [{"path": "/v1/account", "kind": "500_before", "count": None}])
    before = world.rows("select count(*) from ledger.stripe_event")
    with keeper(world) as room:
        room.step()
        assert _states(world) == [("closing", False)]
        assert world.rows("select reason from ops.flush") == [("the billing period ended",)]
        assert 'trueup_deadline_timestamp_seconds{state="closing"}' in world.registries[-1].render().decode()
        assert not room.health().ok and "whose key" in room.health().why
        go_to(world, end_ms + 25 * HOUR_MS)
        room.step()
        assert _states(world) == [("not_provable", False)], "nobody compared it, and its date has come"
        assert world.rows("select count(*) from ledger.stripe_event") == before
        world.take_trouble_away()
        wait_for(lambda: room.step() >= 0 and room.health().ok)
        assert world.rows("select count(*) from ledger.stripe_event") > before
    with keeper(world, whose_key=lambda: Deployment("acct_other", False)) as room, pytest.raises(Broken, match="acct_other"):
        room.step()


def test_usage_without_a_price_waits_until_a_subscription_has_one(world: DispatchWorld) -> None:
    """Stripe would take it and bill it to nobody. A close does not wait for it, and a flush says what keeps it."""
    world.apply("tokens", "images")
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room:
        settle(world, room)
        world.use("acme", "tokens", 5)
        go_to(world, end_ms - DAY_MS)
        world.use("acme", "images", 7)
        world.advance(HOUR_MS)
        settle(world, room)
        assert (world.books("acme", "tokens"), world.books("acme", "images")) == ((1, "5"), (0, "0"))
        assert world.rows("select meter, state from finance.unbilled_usage where state <> 'acknowledged_not_invoiced'") == [
            ("images", "no_price")
        ]
        number = flush.request(world.ledger, "acme", "over HTTP")
        go_to(world, end_ms + WINDOW_MS)
        settle(world, room)
        assert _states(world)[0] == ("closing", True)
        assert world.rows("select reason from ops.flush where done_at is null") == [("over HTTP",)]
        assert flush.state(world.ledger, number).refused == "usage of images waits for a person: no_price"
        subscribe(world, since_ms=end_ms - 2 * DAY_MS, meter="images", again="2")
        go_to(world, end_ms + DAY_MS)
        settle(world, room)
    assert world.books("acme", "images") == (1, "7")
    assert world.rows("select reason from ops.flush where done_at is null") == []
