"""Flushes that come to an end, with a real Postgres and an emulated Stripe: done, or refused with why."""

from __future__ import annotations

from typing import Any

import pytest

from services.reconciler.adapters.invoices import InvoiceReader
from services.reconciler.adapters.period_reader import PeriodReader
from services.reconciler.app.flushing import Flushing
from services.reconciler.app.invoices import Invoices
from services.reconciler.app.period_room import PeriodRoom
from services.reconciler.app.reconcile_now import reconcile_now
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, SETTLE_HOURS, DispatchWorld, wait_idle
from tests.makers.period_world import DAY_MS, go_to, keeper, period_end_ms, settle, standing, subscribe
from tests.system.emulator.running import API_KEY
from trueup.ledger.store import flush
from trueup.ledger.store.session import Session
from trueup.runtime.settings import StreetSettings

GRACE_MS = HOUR_MS  # of the emulator
WINDOW_MS = 46 * MINUTE_MS


class _Counting(PeriodReader):
    """Counts how often Stripe is asked for a sum."""

    asked = 0

    def total(self, *given: Any) -> Any:
        """Ask it."""
        self.asked += 1
        return super().total(*given)


def _reconcile(world: DispatchWorld) -> None:
    """Read all hours now, as `trueup reconcile` does."""
    assert world.emulator.clock is not None
    reconcile_now(
        StreetSettings(
            postgres_dsn=world.database.writer_dsn,
            stripe_url=world.emulator.url,
            stripe_api_key=API_KEY,
            clock=f"simulated:{world.emulator.clock.path}",
        )
    )


def _foreign(world: DispatchWorld, value: int, at_ms: int) -> None:
    """Usage that somebody else sends."""
    payload = {"stripe_customer_id": world.stripe_customer("acme"), "value": str(value)}
    wish = {"event_name": world.event_name("tokens"), "payload": payload, "timestamp": at_ms // 1_000}
    world.emulator.client().v1.billing.meter_events.create(wish)


def _flushed(world: DispatchWorld, room: PeriodRoom) -> flush.Flush:
    """Ask for a flush, and look at it until Stripe has counted everything."""
    number = flush.request(world.ledger, "acme", "over HTTP")
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    for _look in range(2):
        world.advance(HOUR_MS)
        room.step()
    return flush.state(world.ledger, number)


def _open(world: DispatchWorld) -> int:
    ((rows,),) = world.rows("select count(*) from ops.flush where done_at is null")
    return int(rows)


def test_what_a_close_has_compared_holds_up_no_later_flush(world: DispatchWorld) -> None:
    """Stripe refuses usage after its 2xx; its invoice is short by it, and the shortfall is posted as missed. That was that."""
    end_ms = period_end_ms(world, subscribe(world, since_ms=world.now_ms - HOUR_MS))
    session = Session(world.database.writer_dsn, "reconciler")
    billing = Invoices(session, InvoiceReader(API_KEY, world.emulator.url), "reconciler", 86_400)
    with keeper(world) as room:
        settle(world, room)
        # In the last hour of the period, which the next one begins within.
        world.set_now(end_ms - 2 * MINUTE_MS)
        world.trouble("reject")
        world.use("acme", "tokens", 7)
        for at_ms in (end_ms, end_ms + WINDOW_MS, end_ms + GRACE_MS + MINUTE_MS):
            go_to(world, at_ms)
            settle(world, room)
        billing.step(world.now_ms)
        assert (world.classes(), world.account("missed_invoice")) == (["ack"], 7)
        world.use("acme", "tokens", 3, at_ms=end_ms + 5 * MINUTE_MS)
        found = _flushed(world, room)
        assert (found.done, found.refused, world.books("acme", "tokens")) == (True, None, (1, "3"))
    session.close()


def test_a_period_that_is_over_with_holds_up_no_later_flush(world: DispatchWorld) -> None:
    """It is not provable, for Stripe shows less than it acknowledged; its invoice is not there yet."""
    end_ms = period_end_ms(world, subscribe(world, since_ms=world.now_ms - HOUR_MS))
    with keeper(world) as room:
        settle(world, room)
        world.set_now(end_ms - 2 * MINUTE_MS)
        world.trouble("reject")
        world.use("acme", "tokens", 7)
        for at_ms in (end_ms, end_ms + GRACE_MS - 10 * MINUTE_MS):
            go_to(world, at_ms)
            settle(world, room)
        assert standing(world)[0].status == "not_provable"
        world.use("acme", "tokens", 3, at_ms=end_ms + 5 * MINUTE_MS)
        assert _flushed(world, room).done


@pytest.mark.parametrize(("beyond", "why", "hours_ago"), [(2, "foreign_event", 0), (-7, "unexplained", 0), (-7, "unexplained", 2)])
def test_a_difference_that_lasts_refuses_a_flush_with_its_cause(world: DispatchWorld, beyond: int, why: str, hours_ago: int) -> None:
    """The period goes on, or there is none, so nobody has compared it; no waiting will make it equal.

    Behind Stripe's reach it is nobody's matter.
    """
    subscribe(world, since_ms=world.now_ms - HOUR_MS)
    with keeper(world) as room:
        settle(world, room)
        if beyond < 0:
            world.trouble("reject")
        used_ms = world.now_ms - hours_ago * HOUR_MS
        world.use("acme", "tokens", 7, at_ms=used_ms)
        world.pass_segment()
        settle(world, room)
        if beyond > 0:
            _foreign(world, beyond, used_ms)
        found = _flushed(world, room)
        assert (found.done, found.refused) == (False, None), "Stripe may be counting still"
        world.advance(SETTLE_HOURS * HOUR_MS)
        _reconcile(world)
        found = _flushed(world, room)
        assert (found.done, found.refused) == (
            False,
            f"Stripe's summaries differ from what it acknowledged of tokens ({why}): see `trueup reconcile`",
        )
        # What was read says nothing of a flush for which Stripe was not asked yet: it may have counted more since.
        assert flush.state(world.ledger, flush.request(world.ledger, "acme", "over HTTP")).refused is None
        # Stripe's own report comes, if it refused anything.
        go_to(world, world.now_ms + 2 * DAY_MS)
        room.step()
        assert flush.lanes(world.ledger, "acme") != []
        go_to(world, used_ms + 36 * DAY_MS)
        room.step()
        assert (flush.lanes(world.ledger, "acme"), _open(world)) == ([], 0)
        assert flush.state(world.ledger, flush.request(world.ledger, "acme", "over HTTP")).refused is None


def test_a_flush_that_is_asked_for_again_is_one_and_asks_stripe_once(world: DispatchWorld) -> None:
    """Everybody who asked waits on the same number; two reasons share one question."""
    subscribe(world, since_ms=world.now_ms - DAY_MS)
    session = Session(world.database.writer_dsn, "periods")
    stripe = _Counting(API_KEY, world.emulator.url)
    flushing = Flushing(session, stripe, 900)
    with keeper(world) as room:
        settle(world, room)
        world.trouble("reject")
        world.use("acme", "tokens", 7, at_ms=world.now_ms - 3 * HOUR_MS)
        with world.dispatching() as dispatch:
            numbers = {flush.request(world.ledger, "acme", "over HTTP") for _again in range(20)}
            numbers.add(flush.request(world.ledger, "acme", "by hand"))
            wait_idle(dispatch)
        assert (len(numbers), _open(world)) == (2, 2)
        world.advance(HOUR_MS)
        assert (flushing.step(world.now_ms), stripe.asked) == (frozenset(), 1)
        flushing.step(world.now_ms)
        assert stripe.asked == 1, "looked at again after a while"
        assert flush.request(world.ledger, "acme", "over HTTP") in numbers
        flushing.step(world.now_ms)
        assert stripe.asked == 2, "whoever asks again gets an answer of that moment"
    session.close()


def test_a_flush_that_is_raised_while_it_is_looked_at_is_not_done(world: DispatchWorld) -> None:
    """Usage that was captured after the look is part of what the second one asked for."""
    subscribe(world, since_ms=world.now_ms - DAY_MS)
    number = flush.request(world.ledger, "acme", "over HTTP")
    (looked_at,) = flush.open_flushes(world.ledger)
    world.use("acme", "tokens", 7)
    assert flush.request(world.ledger, "acme", "over HTTP") == number
    assert flush.left(world.ledger, looked_at).open_quantities == {}
    assert not flush.done(world.ledger, looked_at)
    assert (flush.state(world.ledger, number).done, flush.state(world.ledger, number).open_quantities) == (False, {"tokens": 7})
    (raised,) = flush.open_flushes(world.ledger)
    assert flush.done(world.ledger, raised)
    assert flush.request(world.ledger, "acme", "over HTTP") != number


def test_a_period_that_nobody_may_call_settled_yet_is_not_flushed_with_every_look(world: DispatchWorld) -> None:
    """It ended while nothing was looked at, and Stripe does not say whether there is an invoice: it stays open until it does."""
    end_ms = period_end_ms(world, subscribe(world, since_ms=world.now_ms - HOUR_MS))
    with keeper(world) as room:
        settle(world, room)
        world.emulator.tell("faults", [{"path": "/v1/invoices", "kind": "500_before", "count": None}])
        go_to(world, end_ms + 5 * DAY_MS)
        for _look in range(5):
            room.step()
            world.advance(2 * MINUTE_MS)
        world.take_trouble_away()
        assert world.rows("select count(*) from ops.flush") == [(0,)]


def test_a_flush_leaves_usage_that_is_dated_into_the_next_period(world: DispatchWorld) -> None:
    """A producer's clock may run five minutes ahead. Stripe takes no date ahead of now, and now is still the period before."""
    subscription = subscribe(world, since_ms=world.now_ms // HOUR_MS * HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room:
        settle(world, room)
        world.set_now(end_ms - MINUTE_MS)
        world.use("acme", "tokens", 5, at_ms=end_ms - 2 * MINUTE_MS)
        world.use("acme", "tokens", 7, at_ms=end_ms + MINUTE_MS)
        with world.dispatching() as dispatch:
            wait_idle(dispatch)
            number = flush.request(world.ledger, "acme", "over HTTP")
            wait_idle(dispatch)
            assert world.books("acme", "tokens") == (1, "5")
            room.step()
            assert flush.state(world.ledger, number).done, "what is dated ahead is not waited for"
        go_to(world, end_ms + 10 * MINUTE_MS)
        settle(world, room)
    sent = world.rows("select quantity, ledger.milliseconds(stripe_timestamp) from ledger.intent order by intent_id")
    assert sent == [(5, end_ms - 2 * MINUTE_MS), (7, end_ms + MINUTE_MS)]


def test_a_period_is_flushed_again_when_its_draft_is_told_of(world: DispatchWorld) -> None:
    """What was captured since the period ended would else wait for the end of its roll-up."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room:
        settle(world, room)
        world.emulator.tell("faults", [{"path": "/v1/invoices", "kind": "500_before", "count": None}])
        go_to(world, end_ms)
        settle(world, room)
        world.set_now(end_ms + 70_000)
        world.use("acme", "tokens", 7, at_ms=end_ms - 30_000)
        settle(world, room)
        assert world.books("acme", "tokens") == (0, "0")
        world.take_trouble_away()
        go_to(world, end_ms + 3 * MINUTE_MS)
        settle(world, room)
        assert world.books("acme", "tokens") == (1, "7")
