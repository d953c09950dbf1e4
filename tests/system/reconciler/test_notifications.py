"""What Stripe tells, through a real broker: in any order, twice, a day late, or not at all."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer

from devstack.process import wait_until
from services.reconciler.app.period_room import PeriodRoom
from services.reconciler.app.reconcile_now import reconcile_now
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld, wait_idle
from tests.makers.period_world import DAY_MS, events_of, go_to, keeper, keeper_page, period_end_ms, settle, standing, subscribe, webhook_of
from tests.system.emulator.running import API_KEY
from trueup.contracts.codec import encode_webhook
from trueup.contracts.errors import Broken, Transient
from trueup.contracts.topics import TopicNames
from trueup.contracts.webhooks import StripeWebhook
from trueup.ledger.store.instants import milliseconds
from trueup.runtime.kafka import producer_options
from trueup.runtime.settings import StreetSettings

MARGIN_MS = 10 * MINUTE_MS


def _deliver(settings: StreetSettings, webhooks: Sequence[StripeWebhook]) -> None:
    """As the door does."""
    producer = Producer(producer_options(settings))
    for webhook in webhooks:
        producer.produce(TopicNames(settings.topic_prefix).webhooks, encode_webhook(webhook), webhook.event_id)
    assert producer.flush(30) == 0


def _at_rest(room: PeriodRoom) -> bool:
    room.step()
    return room.activity().idle


def _told(world: DispatchWorld) -> list[tuple[str, str]]:
    return [
        (kind, via) for kind, via in world.rows("select type, via from ledger.stripe_event where stripe_customer is not null order by 1")
    ]


def test_shuffled_and_doubled_they_are_kept_once_and_their_hint_is_followed(world: DispatchWorld, kafka_settings: StreetSettings) -> None:
    """Between its own dates the keeper asks nothing: only the hint can tell it that the draft's deadline has come down."""
    world.emulator.tell("settings", {"finalization_grace_seconds": 3_600})
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world, kafka_settings) as room:
        assert wait_until(lambda: _at_rest(room), 60, 0.1), room.activity()
        world.set_now(end_ms - 2 * MINUTE_MS)
        world.use("acme", "tokens", 7)
        go_to(world, end_ms)
        room._parts.periods._next_ms[world.stripe_customer("acme")] = end_ms + 10 * DAY_MS  # its own clock would come too late
        events = events_of(world)
        assert {event["type"] for event in events} >= {"customer.subscription.updated", "invoice.created"}
        deliveries = [webhook_of(event, world.now_ms) for event in events * 2]
        random.Random(7).shuffle(deliveries)
        _deliver(kafka_settings, deliveries)
        assert wait_until(lambda: _at_rest(room) and bool(_told(world)), 60, 0.1), room.activity()
        settle(world, room)
        assert [via for _kind, via in _told(world)] == ["webhook"] * len(events)
        ended, current = standing(world)
        assert (ended.status, milliseconds(ended.deadline)) == ("closing", end_ms + HOUR_MS - MARGIN_MS)
        assert milliseconds(current.period_start) == end_ms
        shown = keeper_page(world)
        assert "trueup_webhook_last_received_timestamp_seconds 1.79" in shown
        assert 'trueup_webhooks_total{outcome="known"}' in shown
        assert "trueup_stripe_events_missed_total 0.0" in shown
    # What was kept is committed: another life of the room does not read it again.
    with keeper(world, kafka_settings) as again:
        assert wait_until(lambda: _at_rest(again), 60, 0.1), again.activity()
        assert 'trueup_webhooks_total{outcome="known"}' not in keeper_page(world)


def test_one_that_never_comes_is_found_by_polling_and_said_so(world: DispatchWorld) -> None:
    subscribe(world, since_ms=world.now_ms - HOUR_MS)
    with keeper(world) as room:
        settle(world, room)
        go_to(world, world.now_ms + DAY_MS)
        settle(world, room)
        assert _told(world)
        assert {via for _kind, via in _told(world)} == {"poll"}
        first_ms = world.now_ms
        assert _missed_at(world) == first_ms / 1_000
        world.set_now(first_ms + DAY_MS)
        settle(world, room)
    with keeper(world) as again:
        go_to(world, first_ms + 2 * DAY_MS)
        settle(world, again)
        assert _missed_at(world) == first_ms / 1_000, "it outlives the process, and is not told anew"


def test_a_silence_does_not_end_with_a_restart(world: DispatchWorld) -> None:
    """The alert on it looks at when the last notification came; what polling found since is none."""
    subscribe(world, since_ms=world.now_ms - HOUR_MS)
    came_ms = world.now_ms
    with keeper(world) as room:
        room.step()
        assert _shown(world, "trueup_webhook_last_received_timestamp_seconds") == 0.0
        room._parts.notifications.keep([webhook_of(event, came_ms) for event in events_of(world)])
    subscribe(world, since_ms=world.now_ms - HOUR_MS, again="2")
    go_to(world, came_ms + 2 * DAY_MS)
    with keeper(world) as again:
        again.step()
        assert {"poll", "webhook"} == {via for _kind, via in _told(world)}
        assert _shown(world, "trueup_webhook_last_received_timestamp_seconds") == came_ms / 1_000


def test_gaps_of_weeks_are_closed_as_far_back_as_stripe_lists_events(world: DispatchWorld) -> None:
    """The keeper and its webhooks were away for 31 days: what is of the last 30 is found, told of and counted as missed."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    with keeper(world) as room:
        settle(world, room)
        go_to(world, world.now_ms + HOUR_MS)
        settle(world, room)
    left_ms, before = world.now_ms, len(_told(world))
    client = world.emulator.client()
    for days in (0.9, 1.1, 29):
        go_to(world, round(left_ms + days * DAY_MS))
        client.v1.subscriptions.update(subscription, {"metadata": {"seen": f"{days}"}})
    back_ms = left_ms + 31 * DAY_MS
    go_to(world, back_ms)
    with keeper(world) as again:
        settle(world, again)
        told = "select body -> 'data' -> 'object' -> 'metadata' ->> 'seen' from ledger.stripe_event where object_id = %s order by created"
        found = [seen for (seen,) in world.rows(told, subscription) if seen]
        assert "29" in found and "1.1" in found
        assert "0.9" not in found, "Stripe itself does not list it any more"
        assert len(_told(world)) > before
        assert _missed_at(world) == back_ms / 1_000


def test_what_was_before_anybody_listened_was_not_missed(world: DispatchWorld) -> None:
    subscribe(world, since_ms=world.now_ms - HOUR_MS)
    go_to(world, world.now_ms + DAY_MS)
    with keeper(world) as room:
        settle(world, room)
        assert {via for _kind, via in _told(world)} == {"poll"}
        assert _missed_at(world) == 0.0


def _missed_at(world: DispatchWorld) -> float:
    return _shown(world, "trueup_stripe_events_missed_timestamp_seconds")


def _shown(world: DispatchWorld, gauge: str) -> float:
    (line,) = [line for line in keeper_page(world).splitlines() if line.startswith(f"{gauge} ")]
    return float(line.split()[1])


def test_what_lies_unread_on_the_topic_was_not_missed(world: DispatchWorld, kafka_settings: StreetSettings) -> None:
    """The room was down for a while. Its first poll would find what the door has kept long ago."""
    subscribe(world, since_ms=world.now_ms - HOUR_MS)
    before = events_of(world)
    _deliver(kafka_settings, [webhook_of(event, world.now_ms) for event in before])
    with keeper(world, kafka_settings) as room:
        assert wait_until(lambda: _at_rest(room), 60, 0.1), room.activity()
    go_to(world, world.now_ms + DAY_MS)
    subscribe(world, since_ms=world.now_ms - HOUR_MS, again="2")
    while_away = [event for event in events_of(world) if event not in before]
    _deliver(kafka_settings, [webhook_of(event, world.now_ms) for event in while_away])
    go_to(world, world.now_ms + HOUR_MS)
    with keeper(world, kafka_settings) as again:
        assert wait_until(lambda: _at_rest(again), 60, 0.1), again.activity()
        kept = world.rows("select via from ledger.stripe_event where event_id = any(%s)", [event["id"] for event in while_away])
        assert kept == [("webhook",)] * len(while_away)
        mine = world.stripe_customer("acme")
        assert world.rows("select count(*) from ledger.stripe_event where via = 'poll' and stripe_customer = %s", mine) == [(0,)]


def test_one_that_comes_a_day_late_changes_nothing_that_polling_found(world: DispatchWorld, kafka_settings: StreetSettings) -> None:
    subscribe(world, since_ms=world.now_ms - HOUR_MS)
    events = events_of(world)
    with keeper(world, kafka_settings) as room:
        assert wait_until(lambda: _at_rest(room), 60, 0.1), room.activity()
        go_to(world, world.now_ms + DAY_MS)
        settle(world, room)
        before = _told(world)
        _deliver(kafka_settings, [webhook_of(event, world.now_ms) for event in events])
        assert wait_until(lambda: _at_rest(room), 60, 0.1), room.activity()
        assert _told(world) == before


def test_a_notification_of_another_mode_stops_the_keeper(world: DispatchWorld) -> None:
    with keeper(world) as room:
        event = {"id": "evt_live", "type": "invoice.created", "created": 1, "data": {"object": {"id": "in_1", "customer": "cus_1"}}}
        with pytest.raises(Broken, match="another mode"):
            room._parts.notifications.keep([webhook_of(event, world.now_ms, livemode=True)])
    assert world.rows("select count(*) from ledger.stripe_event where event_id = 'evt_live'") == [(0,)]


def test_what_stripe_refuses_after_its_2xx_is_learnt_from_its_report(world: DispatchWorld) -> None:
    """No list of usual events has it, and no summary says why: the report names a sample, by which the shortfall is explained."""
    world.trouble("reject")
    world.use("acme", "tokens", 7)
    with keeper(world) as room:
        with world.dispatching() as dispatch:
            world.pass_segment()
            wait_idle(dispatch)
        assert world.account("acknowledged") == 7, "it said 200"
        go_to(world, world.now_ms + DAY_MS)
        room.step()
        assert "trueup_stripe_meter_events_rejected_total 1.0" in keeper_page(world)
        room.step()
        # A notification says only that there is a report: it is asked for at once.
        thin = {"id": "evt_thin", "type": "v1.billing.meter.error_report_triggered", "created": "2026-11-01T00:00:00.000Z"}
        room._parts.notifications.keep([StripeWebhook("evt_thin", thin["type"], None, False, 0, 0, "t=1,v1=00", json.dumps(thin).encode())])
        assert room._parts.notifications.next_poll_ms == 0
        room.step()
        assert "trueup_stripe_meter_events_rejected_total 1.0" in keeper_page(world), "known already"
    ((count, code),) = world.rows(
        "select error_count, body #>> '{data,reason,error_types,0,code}' from ledger.meter_error_report where stripe_meter_id = %s",
        f"mtr_{world.event_name('tokens')}",
    )
    assert (count, code is not None) == (1, True)
    settings = StreetSettings(
        postgres_dsn=world.database.writer_dsn,
        stripe_url=world.emulator.url,
        stripe_api_key=API_KEY,
        clock=f"simulated:{world.emulator.clock.path}" if world.emulator.clock else "system",
    )
    assert [(row.difference, row.explanation) for row in reconcile_now(settings)] == [(-7, "rejected")]


def test_notifications_read_while_the_ledger_was_away_are_kept_when_it_is_back(
    world: DispatchWorld, kafka_settings: StreetSettings
) -> None:
    """The client stands behind them: the next commit of their partition would pass over what was read and not kept."""
    subscribe(world, since_ms=world.now_ms - HOUR_MS)
    with keeper(world, kafka_settings) as room:
        assert wait_until(lambda: _at_rest(room), 60, 0.1), room.activity()
        _deliver(kafka_settings, [webhook_of(event, world.now_ms) for event in events_of(world)])

        def refused() -> bool:
            try:
                room.step()
            except Transient:
                return True
            return False

        with world.ledger.transaction():
            world.ledger.execute("lock table ledger.stripe_event in access exclusive mode")
            assert wait_until(refused, 60, 0.1)
        assert wait_until(lambda: _at_rest(room), 60, 0.1), room.activity()
    assert {event["id"] for event in events_of(world)} <= {row[0] for row in world.rows("select event_id from ledger.stripe_event")}
    assert world.rows("select count(*) from ledger.stripe_event where via = 'poll'") == [(0,)]


def test_notifications_are_kept_while_stripe_does_not_say_whose_key_this_is(world: DispatchWorld, kafka_settings: StreetSettings) -> None:
    """They come by themselves, and their topic forgets them after a while; what they hint at is read when Stripe is back."""
    subscribe(world, since_ms=world.now_ms - HOUR_MS)
    told = events_of(world)
    world.emulator.tell("faults", [{"path": "/v1/account", "kind": "500_before", "count": None}])
    with keeper(world, kafka_settings) as room:
        _deliver(kafka_settings, [webhook_of(event, world.now_ms) for event in told])
        kept = "select event_id from ledger.stripe_event where via = 'webhook'"
        assert wait_until(lambda: room.step() >= 0 and len(world.rows(kept)) == len(told), 60, 0.1)
        assert standing(world) == []
        world.take_trouble_away()
        assert wait_until(lambda: room.step() >= 0 and bool(standing(world)), 60, 0.1), "at once, and not at its next date"


def test_a_key_that_may_not_read_reports_still_closes_the_gaps(world: DispatchWorld) -> None:
    """The reports are of Stripe's second API. That they are refused makes the room unready; it does not make it deaf."""
    world.emulator.tell("faults", [{"path": "/v2/core/events", "kind": "500_before", "count": None}])
    with keeper(world) as room:
        subscribe(world, since_ms=world.now_ms - HOUR_MS)
        go_to(world, world.now_ms + DAY_MS)
        room.step()
        assert world.rows("select count(*) > 0 from ledger.stripe_event where via = 'poll'") == [(True,)]
        assert not room.health().ok and "error reports" in room.health().why
        world.take_trouble_away()
        go_to(world, world.now_ms + MINUTE_MS)
        room.step()
        assert room.health().ok


def test_one_notification_that_cannot_be_read_costs_none_of_the_others(world: DispatchWorld, kafka_settings: StreetSettings) -> None:
    """Signed and odd: as the topic may hold it from before the door refused it."""
    subscribe(world, since_ms=world.now_ms - HOUR_MS)
    events = events_of(world)
    odd = [
        b'{"id": "evt_odd", "x": NaN}',
        b'{"id": "evt_a", "type": "t", "data": "x"}',
        b'{"id": "evt_b", "type": "t", "data": {"object": ["x"]}}',
        b'{"id": "evt_c", "type": "invoice.paid", "data": {"object": {"id": "in_\\u0000", "customer": "cus_\\u0000"}}}',
        b'{"id": "evt_d", "type": "t", "data": {"object": {"id": "' + random.Random(7).randbytes(5_000).hex().encode() + b'"}}}',
        b'{"id": "evt_odd", "type": "t", "x": 0.' + b"1" * 20_000 + b"}",
    ]
    webhooks = [webhook_of(event, world.now_ms) for event in events]
    webhooks[1:1] = [
        StripeWebhook(f"evt_odd_{n}", "odd", None, False, world.now_ms, world.now_ms, "t=1,v1=00", body) for n, body in enumerate(odd)
    ]
    with keeper(world, kafka_settings) as room:
        _deliver(kafka_settings, webhooks)
        assert wait_until(lambda: _at_rest(room), 60, 0.1), room.activity()
        assert room.health().ok
        assert 'trueup_webhooks_total{outcome="unreadable"} 2.0' in keeper_page(world)
    kept = {row[0] for row in world.rows("select event_id from ledger.stripe_event where via = 'webhook'")}
    assert kept == {event["id"] for event in events} | {"evt_a", "evt_b", "evt_c", "evt_d"}
