"""Nothing is sent before a person, or the street, has compared this very database with Stripe and said so."""

from __future__ import annotations

from typing import cast

import psycopg
import pytest

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from services.stripe_sink.app.dispatch_settler import Settler
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, ROLL_UP_MS, DispatchWorld, make_meters, wait_for, wait_idle
from tests.system.dispatch.test_cutting import make_cutter
from tests.system.dispatch.test_horizon import PATIENT
from tests.system.emulator.running import API_KEY
from trueup.contracts.errors import Broken
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.store.deployment import Deployment
from trueup.ledger.store.dispatch import arming
from trueup.ledger.store.dispatch.arming import StripeReader
from trueup.ledger.store.session import Session

DAY_MS = 24 * HOUR_MS


def report_directly(world: DispatchWorld, value: str) -> None:
    """Usage that Stripe has and this ledger knows nothing of."""
    world.emulator.client().v1.billing.meter_events.create(
        {
            "event_name": world.event_name("tokens"),
            "payload": {"stripe_customer_id": world.stripe_customer("acme"), "value": value},
            "timestamp": world.now_ms // 1_000,
        }
    )


def test_disarmed_ledger_calls_nobody_and_says_what_waits(world: DispatchWorld) -> None:
    """Disarming is recorded; no intent is made, since what a restored ledger would cut may have been sent before."""
    arming.disarm(world.ledger, reason="maintenance", by="kim")
    used_ms = world.now_ms
    world.use("acme", "tokens", 5)
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert dispatch.activity().why == "disarmed"
        assert world.rows("select * from ledger.intent") == []
        status = arming.status(world.ledger)
        assert status.why == "disarmed by kim: maintenance"
        segment_ms = used_ms // ROLL_UP_MS * ROLL_UP_MS
        assert status.outbox == (arming.OutboxState("unsent", 1, segment_ms, segment_ms + 34 * DAY_MS),)
        assert status.nearest_deadline_ms == segment_ms + 34 * DAY_MS == dispatch.activity().next_due_ms
        wait_for(lambda: b'trueup_outbox_pending{state="unsent"} 1.0' in world.registries[0].render())
        assert world.arm().armed
        wait_idle(dispatch)
        wait_for(lambda: b"trueup_dispatch_armed 1.0" in world.registries[0].render())
    assert world.books("acme", "tokens") == (1, "5")


def test_disarmed_ledger_makes_cases_of_what_misses_its_deadline(world: DispatchWorld) -> None:
    """Disarmed means that nobody calls Stripe, not that nobody keeps the books: cut before or not, it goes to a person."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    assert make_cutter(world).step() == 1
    arming.disarm(world.ledger, reason="maintenance", by="kim")
    world.use("acme", "tokens", 7)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert (world.account("in_flight"), world.account("unsent")) == (5, 7)
        world.advance(35 * DAY_MS)
        wait_idle(dispatch)
        assert (world.account("in_flight"), world.account("unsent"), world.account("in_review")) == (0, 0, 12)
        assert arming.status(world.ledger).outbox == ()
    assert world.classes() == ["expired", "expired"]
    assert world.rows("select violations, pending from finance.proof where check_name = 'nothing_past_deadline'") == [(0, 0)]
    assert world.books("acme", "tokens") == (0, "0")


def _lose_an_answer(world: DispatchWorld, fault: str = "drop_after") -> None:
    """Five tokens are sent; whether they arrived is unknown."""
    world.trouble(fault)
    world.use("acme", "tokens", 5)
    world.pass_segment()
    with world.dispatching(limits=PATIENT):
        wait_for(lambda: "unknown" in world.classes())
    world.ledger.execute("update ops.lane_state set leased_until = '-infinity'")


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_pause_with_an_unknown_outcome_ends_as_if_there_had_been_none(world: DispatchWorld, fault: str) -> None:
    """The same database sends it again under the same identifier; Stripe having more than that is a refusal as ever."""
    _lose_an_answer(world, fault)
    arming.disarm(world.ledger, reason="maintenance", by="kim")
    resumed = world.arm()
    arrived = 5 if fault == "drop_after" else 0
    assert resumed.armed and [(item.acknowledged, item.stripe, item.unknown_intents) for item in resumed.differences] == [(0, arrived, 1)]
    report_directly(world, str(6 - arrived))
    assert not world.arm().armed
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert world.account("acknowledged") == 5


def test_unknown_outcome_is_settled_while_disarmed_so_that_arming_is_possible(world: DispatchWorld) -> None:
    """Sent and lost, then put back: arming is refused until somebody knows what became of it. Reading sends nothing."""
    _lose_an_answer(world)
    arming.disarm(world.ledger, reason="it was restored from a copy", by=arming.SINK)
    assert not world.arm().armed
    world.ledger.execute("update ops.lane_state set leased_until = '-infinity'")
    world.advance(25 * HOUR_MS)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        world.advance(15 * MINUTE_MS)
        wait_idle(dispatch)
    assert world.classes() == ["unknown", "settled"]
    assert world.arm().armed
    assert (world.account("acknowledged"), world.books("acme", "tokens")) == (5, (1, "5"))


def test_disarmed_ledger_is_not_settled_with_a_key_of_another_account(world: DispatchWorld) -> None:
    """A copy for trying things out reads an empty Stripe, and would take what landed for lost."""
    _lose_an_answer(world)
    arming.disarm(world.ledger, reason="maintenance", by="kim")
    world.advance(25 * HOUR_MS)

    session = Session(world.database.writer_dsn, "test")
    meters = OtherAccount(API_KEY, world.emulator.url)
    with pytest.raises(Broken, match="acct_other"):
        Settler(session, meters, OwnAccount(meters.account), "test", 20.0).step()
    assert world.rows("select count(*) from ops.settle_read") == [(0,)]
    session.close()


class OtherAccount(StripeMeters):
    """Somebody else's key of the same mode."""

    def account(self) -> Deployment:
        """Another account."""
        return Deployment("acct_other", False)


def test_nothing_is_sent_with_the_key_of_another_account(world: DispatchWorld) -> None:
    """It would answer 200 and count nothing, since it knows none of our customers. With the right key again all of it goes out."""
    world.use("acme", "tokens", 7)
    world.pass_segment()
    other = OtherAccount(API_KEY, world.emulator.url, connect_timeout_seconds=1.0, read_timeout_seconds=2.0)
    with world.dispatching(meters=other) as dispatch:
        wait_for(lambda: not dispatch.health().ok)
        assert "acct_other" in dispatch.health().why
        wait_for(lambda: b'trueup_lanes_halted{reason="sink_broken"} 1.0' in world.registries[-1].render())
    assert (world.classes(), world.rows("select count(*) from ledger.attempt")) == ([], [(0,)])
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert (world.classes(), world.books("acme", "tokens")) == (["ack"], (1, "7"))


def test_new_ledger_is_disarmed(world: DispatchWorld) -> None:
    """Before the first arming nobody said whose account this is."""
    name = f"{world.database.name}_new"
    with psycopg.connect(world.database.server.dsn(), autocommit=True) as server:
        server.execute(f'create database "{name}" template "template_ledger"')
    with psycopg.connect(world.database.server.dsn(name), autocommit=True) as ledger:
        status = arming.status(ledger)
    assert (status.armed, status.why, status.deployment) == (False, "never armed", None)


def test_copied_ledger_is_disarmed_and_compares_before_it_is_armed(world: DispatchWorld) -> None:
    """A copy holds the same books and the same arming; it is another database, and Stripe has moved on since."""
    copy = f"{world.database.name}_copy"
    world.use("acme", "tokens", 5)
    world.pass_segment()
    world.ledger.close()
    with psycopg.connect(world.database.server.dsn(), autocommit=True) as server:
        server.execute(f'create database "{copy}" template "{world.database.name}"')
    world.ledger = psycopg.connect(world.database.dsn, autocommit=True)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    with psycopg.connect(world.database.server.dsn(copy), autocommit=True) as ledger:
        assert not arming.status(ledger).armed
        assert "this one" in arming.status(ledger).why
        report = arming.arm(ledger, make_meters(world.emulator.url), reason="restored", by="kim")
        assert not report.armed
        assert [(item.acknowledged, item.stripe) for item in report.differences] == [(0, 5)]
        told = arming.arm(ledger, make_meters(world.emulator.url), reason="looked", by="kim", accept_differences=True)
        assert told.armed and arming.status(ledger).armed


def test_arming_lists_what_stripe_lacks_and_refuses_what_it_has_too_much(world: DispatchWorld) -> None:
    """Less in Stripe may be its lag; more means that sending could bill twice."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    world.trouble("reject")
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    lagging = world.arm()
    assert lagging.armed and [(item.acknowledged, item.stripe, item.blocks) for item in lagging.differences] == [(5, 0, False)]
    report_directly(world, "6")
    ahead = world.arm()
    assert not ahead.armed and ahead.differences[0].blocks
    compared = world.rows("select lanes_compared, lanes_different from ledger.arming order by arming_id")
    assert compared == [(1, 0), (1, 1)], "a refused arming is no arming"


def test_customer_can_be_paused_alone(world: DispatchWorld) -> None:
    """Neither cut nor sent, while others go on; resuming sends what waited."""
    world.map("globex")
    arming.disarm(world.ledger, reason="dispute", by="kim", customer="acme")
    for customer in ("acme", "globex"):
        world.use(customer, "tokens", 5)
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert (world.books("acme", "tokens"), world.books("globex", "tokens")) == ((0, "0"), (1, "5"))
        due = dispatch.activity().next_due_ms
        assert due is not None and due > world.now_ms + 33 * 24 * 3_600_000, "a pause ends where Stripe takes the usage no more"
        assert arming.status(world.ledger).paused_customers == ("acme",)
        assert world.arm(customer="acme").armed
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "5")


def test_key_of_another_account_or_mode_is_refused(world: DispatchWorld) -> None:
    """One ledger, one account, one mode."""
    held = arming.status(world.ledger).deployment
    assert held is not None and not held.livemode

    class Other:
        """Somebody else's key."""

        def account(self) -> Deployment:
            """Another account."""
            return Deployment("acct_other", False)

        def summary_values(self, stripe_customer: str, event_name: str, start_ms: int, end_ms: int) -> tuple[float, ...]:
            """No usage at all."""
            return ()

    other = cast(StripeReader, Other())
    report = arming.arm(world.ledger, other, reason="mistake", by="kim")
    assert not report.armed and "acct_other" in report.why


def test_arming_lets_a_halted_lane_try_again(world: DispatchWorld) -> None:
    """A person has looked: the reason for the halt is gone."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        world.ledger.execute("update ops.lane_state set halted_reason = 'not_found', halted_at = ops.now()")
        world.use("acme", "tokens", 7)
        world.pass_segment()
        wait_idle(dispatch)
        assert world.books("acme", "tokens") == (1, "5")
        assert world.arm().armed
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (2, "12")


def test_account_is_recorded_once_for_ever(world: DispatchWorld) -> None:
    """Recording another one is a broken invariant."""
    from trueup.ledger.store import deployment

    with pytest.raises(Broken):
        deployment.record(world.ledger, Deployment("acct_other", False))
