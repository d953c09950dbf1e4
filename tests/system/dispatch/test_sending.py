"""From postings to Stripe's books, through every answer that Stripe can give."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from services.stripe_sink.app.dispatch import DispatchLimits
from services.stripe_sink.app.dispatch_sender import Sender, SenderLimits
from services.stripe_sink.core.dispatch_wait import BackOff
from services.stripe_sink.metrics import dispatch as metrics
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, Confirmed, DispatchWorld, make_meters, wait_for, wait_idle
from tests.system.dispatch.test_cutting import make_cutter
from trueup.contracts.errors import Transient
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.periods import PeriodEvent, PeriodFact
from trueup.ledger.store import periods
from trueup.ledger.store.dispatch import arming
from trueup.ledger.store.session import Connection, Session
from trueup.runtime.loop import Stop
from trueup.runtime.metrics import Registry

T = TypeVar("T")
FAR_MS = 4_000_000_000_000


def test_usage_of_a_segment_is_sent_once_when_its_window_has_ended(world: DispatchWorld) -> None:
    """A minute after its end a segment goes out as one event, with the newest event time in it."""
    world.use("acme", "tokens", 5)
    world.use("acme", "tokens", 7, at_ms=world.now_ms + 1_700)
    newest = (world.now_ms + 1_700) // 1_000
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert dispatch.activity().next_due_ms == (world.now_ms // 300_000 + 1) * 300_000 + 60_000
        assert world.rows("select * from ledger.intent") == []
        world.pass_segment()
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "12")
    assert world.rows("select quantity, events, extract(epoch from stripe_timestamp)::bigint from ledger.intent") == [(12, 2, newest)]
    assert (world.account("unsent"), world.account("in_flight"), world.account("acknowledged")) == (0, 0, 12)
    assert world.classes() == ["ack"]


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("429", ["retry", "ack"]),
        ("lock_timeout", ["retry", "ack"]),
        ("500_before", ["unknown", "ack"]),
        ("500_after", ["unknown", "ack_duplicate"]),
        ("drop_before", ["unknown", "ack"]),
        ("drop_after", ["unknown", "ack"]),
    ],
)
def test_trouble_on_the_way_neither_loses_nor_doubles(world: DispatchWorld, kind: str, classes: list[str]) -> None:
    """Whatever happened to the first call, Stripe counts the usage once and the ledger knows it."""
    world.use("acme", "tokens", 5)
    world.trouble(kind)
    with world.dispatching() as dispatch:
        world.pass_segment()
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "5")
    assert world.classes() == classes
    assert (world.account("in_flight"), world.account("acknowledged")) == (0, 5)


def test_refused_usage_stands_in_rejected_and_is_not_sent_again(world: DispatchWorld) -> None:
    """A refusal is final: what Stripe will not have waits for a person, and never loops."""
    world.use("acme", "tokens", 5)
    world.emulator.client().v1.billing.meters.deactivate(f"mtr_{world.event_name('tokens')}")
    with world.dispatching() as dispatch:
        world.pass_segment()
        wait_idle(dispatch)
    assert world.classes() == ["reject"]
    assert (world.account("in_flight"), world.account("rejected")) == (0, 5)


def test_refusal_after_an_unknown_answer_is_settled_by_reading(world: DispatchWorld) -> None:
    """The first call was taken and its answer lost; then the meter is archived. Only the summary tells the truth."""
    world.use("acme", "tokens", 5)
    world.trouble("drop_after")
    world.pass_segment()
    with world.dispatching(url=None) as dispatch:
        wait_for(lambda: world.classes() == ["unknown", "ack"])
        wait_idle(dispatch)
    world.use("acme", "tokens", 7)
    world.pass_segment()
    world.trouble("500_before", 1)
    meter = f"mtr_{world.event_name('tokens')}"
    slow = DispatchLimits(senders=1, look_seconds=0.02, sender=SenderLimits(lease_seconds=4.0, back_off=BackOff(2.0, 2.0)))
    with world.dispatching(limits=slow) as dispatch:
        wait_for(lambda: world.classes()[2:] == ["unknown"])
        world.emulator.client().v1.billing.meters.deactivate(meter)
        wait_idle(dispatch)
        assert world.classes()[2:] == ["unknown", "unknown"]
        due = dispatch.activity().next_due_ms
        assert due == world.now_ms + 2 * HOUR_MS
        world.set_now(due)
        wait_idle(dispatch)
        assert dispatch.activity().next_due_ms == due + 15 * MINUTE_MS
        world.advance(15 * MINUTE_MS)
        wait_idle(dispatch)
        assert world.classes()[4:] == ["settled"]
        assert world.rows("select quantity_landed, quantity_remainder from ledger.settlement") == [(0, 7)]
        world.emulator.client().v1.billing.meters.reactivate(meter)
        world.pass_segment()
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (2, "12")
    assert (world.account("unsent"), world.account("in_flight"), world.account("acknowledged")) == (0, 0, 12)


def test_usage_that_stripe_drops_later_is_still_only_acknowledged(world: DispatchWorld) -> None:
    """A 2xx is received, not billed: the reconciler will find that the books are short."""
    world.use("acme", "tokens", 5)
    world.trouble("reject")
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (0, "0")
    assert world.account("acknowledged") == 5


def test_nobody_listening_is_a_call_that_did_not_arrive(world: DispatchWorld) -> None:
    """A refused connection starts no horizon: the intent may be sent for as long as it takes."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    with world.dispatching(url="http://127.0.0.1:9"):
        wait_for(lambda: len(world.classes()) >= 3)
    assert set(world.classes()) == {"retry"}
    assert world.rows("select risk_since from ops.open_intent") == [(None,)]
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "5")


def test_usage_that_sums_to_zero_is_settled_without_a_call(world: DispatchWorld) -> None:
    """Fourteen runs and fourteen failures: Stripe need not hear of it."""
    world.use("acme", "tokens", 5)
    world.use("acme", "tokens", -5)
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert world.classes() == ["zero"]
    assert world.rows("select count(*) from ledger.attempt") == [(0,)]
    assert world.rows("select from_account, to_account, quantity, events from ledger.posting where intent_id is not null order by 1") == [
        (2, 3, 0, 2),
        (3, 4, 0, 2),
    ]


def test_value_too_long_for_stripe_waits_before_any_call(world: DispatchWorld) -> None:
    """The others go on; the operator sees whose waits, and why."""
    world.map("globex")
    world.use("acme", "tokens", 10**15)
    world.use("globex", "tokens", 7)
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        wait_for(lambda: b'trueup_lanes_halted{reason="value_too_long"} 1.0' in world.registries[0].render())
        assert dispatch.health().ok
    assert world.books("acme", "tokens") == (0, "0")
    assert world.books("globex", "tokens") == (1, "7")
    assert [lane.reason for lane in arming.status(world.ledger).halted_lanes] == ["value_too_long"]


def _take_the_identifier(world: DispatchWorld) -> None:
    """Somebody else uses the identifier of an intent that has not reached Stripe yet."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    with world.dispatching(url="http://127.0.0.1:9"):
        wait_for(lambda: bool(world.classes()))
    ((body,),) = world.rows("select body from ledger.intent")
    world.emulator.client().v1.billing.meter_events.create(body | {"timestamp": body["timestamp"]})


def test_identifier_that_somebody_else_used_halts_the_lane(world: DispatchWorld) -> None:
    """`already exists` without a call of ours is no success: this ledger may have forgotten what it sent."""
    _take_the_identifier(world)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert world.classes()[-1] == "halt"
    assert (world.account("in_flight"), world.account("acknowledged")) == (5, 0)
    assert [lane.reason for lane in arming.status(world.ledger).halted_lanes] == ["identifier_taken"]


def test_key_that_stripe_refuses_stops_the_whole_sink_and_loses_nothing(world: DispatchWorld) -> None:
    """A rolled key is nobody's lane: everything waits, and goes out once the room has the new key."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    wrong = StripeMeters("sk_test_rolled", world.emulator.url, connect_timeout_seconds=1.0, read_timeout_seconds=2.0)
    with world.dispatching(meters=wrong) as dispatch:
        wait_for(lambda: "Invalid API Key" in dispatch.health().why)
    assert world.classes() == [], "a process that begins with it asks whose it is, and sends nothing"
    with world.dispatching(meters=Confirmed(world.emulator.url, world.emulator.url, "sk_test_rolled")) as dispatch:
        wait_for(lambda: not dispatch.health().ok)
        assert "unauthorized" in dispatch.health().why
        threading.Event().wait(0.3)
    assert world.classes().count("halt") <= 2, "each sender asks once at most"
    assert arming.status(world.ledger).halted_lanes == ()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "5")


def test_new_idempotency_key_only_after_a_server_error_was_received(world: DispatchWorld) -> None:
    """A dropped answer keeps the key, so that Stripe replays it; a stored 500 would be replayed for ever."""
    world.use("acme", "tokens", 5)
    world.trouble("drop_before", 2)
    world.trouble("500_before", 2, stored=True)
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    ((identifier,),) = world.rows("select identifier from ledger.intent")
    keys = [row[0] for row in world.rows("select idempotency_key from ledger.attempt order by number")]
    assert keys == [identifier, identifier, identifier, f"{identifier}:1", f"{identifier}:2"]
    assert world.books("acme", "tokens") == (1, "5")


def test_what_does_not_wait_is_shown_as_nothing(world: DispatchWorld) -> None:
    """A series that is absent can't be told from a room that does not measure, and no alert fires on it."""
    _take_the_identifier(world)
    with world.dispatching() as dispatch:
        page = world.registries[-1].render
        expected = [
            'lanes_halted{reason="identifier_taken"} 1.0',
            'lanes_halted{reason="stripe_has_more"} 0.0',
            'outbox_pending{state="in_flight"} 1.0',
        ]
        for state in ("unsent", "unknown"):
            for gauge in ("outbox_pending", "outbox_oldest_timestamp_seconds", "deadline_timestamp_seconds"):
                expected.append(f'{gauge}{{state="{state}"}} 0.0')
        wait_for(lambda: all(f"trueup_{line}" in page().decode() for line in expected))
        world.ledger.execute("update ops.lane_state set halted_reason = 'something new'")
        wait_for(lambda: b'trueup_lanes_halted{reason="something new"} 1.0' in page())
        world.ledger.execute("update ops.lane_state set halted_reason = 'identifier_taken'")
        wait_for(lambda: b'trueup_lanes_halted{reason="something new"} 0.0' in page())
        assert dispatch.health().ok


def test_health_says_what_is_so(world: DispatchWorld) -> None:
    """Before it begins and after it ended nothing has gone wrong, and a sink that may send nothing does not say that it sends."""
    dispatch = world.make_dispatch()
    assert (dispatch.health().ok, dispatch.health().why) == (False, "not begun yet")
    dispatch.start()
    wait_for(lambda: dispatch.health().why == "dispatching")
    assert dispatch.health().ok
    arming.disarm(world.ledger, reason="maintenance", by="kim")
    wait_for(lambda: dispatch.activity().why == "disarmed")
    assert (dispatch.health().ok, dispatch.health().why) == (True, "disarmed: usage waits in the ledger until `trueup stripe arm`")
    dispatch.stop()
    assert (dispatch.health().ok, dispatch.health().why) == (False, "stopping")


def test_answers_are_stored_although_the_ledger_went_away_between_two_calls(world: DispatchWorld) -> None:
    """What Stripe said is a fact: a call that surely was not made is tried again, and nothing counts as unknown."""
    world.map("globex")
    for customer in ("acme", "globex"):
        world.use(customer, "tokens", 5)
        name = world.event_name("tokens")
        fact = PeriodFact(f"si_{customer}", "sub", world.stripe_customer(customer), "p", name, None, "usd", world.now_ms - HOUR_MS, FAR_MS)
        assert periods.record_period(world.ledger, fact)
    world.pass_segment()
    make_cutter(world).step()

    class Away(Session):
        """A line to the ledger that is down when the second deadline is asked for."""

        asked = 0

        def run(self, work: Callable[[Connection], T]) -> T:
            """As ever, but once."""
            if "may_send" in work.__code__.co_names:
                self.asked += 1
                if self.asked == 2:
                    raise Transient("the server went away")
            return super().run(work)

    meters = make_meters(world.emulator.url)
    session = Away(world.database.writer_dsn, "send")
    sender = Sender(session, meters, "send-1", OwnAccount(meters.account), SenderLimits(), Registry(*metrics.ALL, room="sink"), Stop())
    assert sender.step() == 2
    assert world.classes() == ["ack", "retry"]
    assert world.rows("select count(*) from ops.open_intent where risk_since is not null") == [(0,)]
    while sender.step():
        pass
    session.close()
    assert (world.books("acme", "tokens"), world.books("globex", "tokens")) == ((1, "5"), (1, "5"))
    assert sorted(world.classes()) == ["ack", "ack", "retry"]


def test_a_deadline_that_moves_while_the_lane_is_leased_is_seen_before_the_call(world: DispatchWorld) -> None:
    """The lane was leased in time. Only the question asked right before the call can tell that the draft finalizes sooner than thought."""
    start_ms = world.now_ms - HOUR_MS
    world.map("acme")
    world.use("acme", "tokens", 5)
    fact = PeriodFact("si", "sub", world.stripe_customer("acme"), "p", world.event_name("tokens"), None, "usd", start_ms, FAR_MS)
    assert periods.record_period(world.ledger, fact)
    world.pass_segment()
    make_cutter(world).step()

    class Moved(Session):
        """A line to the ledger on which the draft's date is told between the lease and the question."""

        def run(self, work: Callable[[Connection], T]) -> T:
            """As ever, but behind that news."""
            if "may_send" in work.__code__.co_names:
                assert world.rows("select count(*) from ledger.attempt") == [(1,)], "leased already"
                sooner = PeriodEvent("si", start_ms, "closing", "in", world.now_ms, "draft", "test")
                assert periods.record_event(world.ledger, sooner)
            return super().run(work)

    meters = make_meters(world.emulator.url)
    session = Moved(world.database.writer_dsn, "send")
    sender = Sender(session, meters, "send-1", OwnAccount(meters.account), SenderLimits(), Registry(*metrics.ALL, room="sink"), Stop())
    assert sender.step() == 1
    assert world.classes() == ["retry"]
    make_cutter(world).step()
    assert sender.step() == 0, "too late, as the lane knows too by now"
    session.close()
    assert world.books("acme", "tokens") == (0, "0")
