"""The race at the close, second by second.

An event is captured inside the window; the reconciler is 20 minutes behind; Stripe answers with 429, or with nothing at all; the
first answer that gets through comes after the invoice is final. It ends as a case or on the invoice, never as silence.
"""

from __future__ import annotations

import pytest

from services.stripe_sink.app.dispatch import Dispatch
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld, wait_for, wait_idle
from tests.makers.period_world import go_to, invoicing, keeper, keeper_page, period_end_ms, settle, standing, subscribe
from trueup.contracts.events import UsageEvent
from trueup.ledger.store.dispatch import lanes

GRACE_MS, MARGIN_MS = HOUR_MS, 10 * MINUTE_MS
SECOND_MS = 1_000
BEHIND_MS = 20 * MINUTE_MS


def _on_invoice(world: DispatchWorld, subscription: str) -> int:
    """What the finalized invoice bills, by Stripe's own words."""
    found = world.emulator.client().v1.invoices.list({"customer": world.stripe_customer("acme"), "subscription": subscription})
    lines = [line for invoice in found.auto_paging_iter() if invoice.status == "paid" for line in invoice.lines.auto_paging_iter()]
    return int(sum(line.quantity or 0 for line in lines))


def _decide_anew(world: DispatchWorld, dispatch: Dispatch) -> None:
    """Stand still at this date until nothing under way was decided on before it.

    A call that was allowed a second ago may be answered now, and that is right: the margin before the invoice is for it. A test of
    single seconds has to keep such a call apart from one that is allowed now. One lane has one call: the second answer is of now.
    """
    answered = len(world.classes())
    wait_for(lambda: len(world.classes()) >= answered + 2 or dispatch.activity().idle)


def _race(world: DispatchWorld, freed_ms: int, trouble: str = "429") -> str:
    """Play it through, with Stripe in trouble until `freed_ms` after the period's end; gives the subscription."""
    subscription = subscribe(world, since_ms=world.now_ms - HOUR_MS)
    end_ms = period_end_ms(world, subscription)
    with keeper(world) as room, invoicing(world) as invoices:
        settle(world, room)
        # What its price is was read long before.
        invoices.step(world.now_ms)
        world.trouble(trouble, None)
        with world.dispatching() as dispatch:
            # The reconciler hears of the end twenty minutes late, and then keeps being that late.
            looks = [end_ms + BEHIND_MS, end_ms + GRACE_MS - MARGIN_MS + BEHIND_MS, end_ms + GRACE_MS + BEHIND_MS]
            around = [end_ms + GRACE_MS - MARGIN_MS, end_ms + GRACE_MS, end_ms + freed_ms]
            captured_ms = end_ms + 10 * MINUTE_MS
            steps = {at + step * SECOND_MS for at in around for step in range(-3, 4)}
            for now_ms in sorted({end_ms, end_ms + MINUTE_MS, captured_ms, *looks, *steps}):
                go_to(world, now_ms)
                if now_ms == captured_ms:
                    world.capture(UsageEvent("e1", "inference", end_ms - 2 * SECOND_MS, "tokens", "acme", 7, None, None, {}))
                _decide_anew(world, dispatch)
                if now_ms >= end_ms + freed_ms:
                    world.take_trouble_away()
                    wait_idle(dispatch)
                if now_ms in looks:
                    room.step()
            # What became of a call without an answer is read when Stripe must have counted it, and a second time; then it is cut anew.
            for now_ms in (end_ms + 4 * HOUR_MS, end_ms + 5 * HOUR_MS, end_ms + 5 * HOUR_MS + MINUTE_MS):
                go_to(world, now_ms)
                wait_idle(dispatch)
        settle(world, room)
    return subscription


def _cases(world: DispatchWorld) -> list[tuple[object, ...]]:
    """What a person sees of it."""
    return world.rows("select kind, customer_id, meter, quantity::int, amount_minor, currency, status from finance.review_queue")


def _assert_accounted_for(world: DispatchWorld, subscription: str, *, invoiced: bool) -> None:
    """All of it is on the paid invoice and in no case, or in a case with its amount and on no invoice."""
    assert _on_invoice(world, subscription) == (7 if invoiced else 0)
    assert world.account("in_review") == (0 if invoiced else 7)
    assert (world.account("unsent"), world.account("in_flight"), world.account("unknown")) == (0, 0, 0)
    assert _cases(world) == ([] if invoiced else [("past_deadline", "acme", "tokens", 7, 7, "usd", "open")])
    # Whoever looked first, the sink or the keeper: what missed the deadline is a person's, and the period's close is not proved.
    assert standing(world)[0].status == ("settled" if invoiced else "not_provable")
    paged = [
        line for line in keeper_page(world).splitlines() if line.startswith("trueup_periods_not_provable") and not line.endswith(" 0.0")
    ]
    assert paged == (
        []
        if invoiced
        else [f'trueup_periods_not_provable{unit}{{currency="usd"}} {n}' for unit, n in (("", "1.0"), ("_minor_units", "7.0"))]
    )
    assert world.rows("select violations, pending from finance.proof where check_name = 'nothing_past_deadline'") == [(0, 0)]


@pytest.mark.parametrize(
    "freed_ms", [BEHIND_MS, GRACE_MS - MARGIN_MS - 2 * SECOND_MS, GRACE_MS - MARGIN_MS, GRACE_MS - SECOND_MS, GRACE_MS + 2 * SECOND_MS]
)
def test_it_ends_on_the_invoice_or_as_a_case(world: DispatchWorld, freed_ms: int) -> None:
    world.emulator.tell("settings", {"finalization_grace_seconds": GRACE_MS // 1_000, "aggregation_lag_maximum_seconds": 0})
    subscription = _race(world, freed_ms)
    _assert_accounted_for(world, subscription, invoiced=freed_ms < GRACE_MS - MARGIN_MS)


@pytest.mark.parametrize(("trouble", "received"), [("drop_after", True), ("500_after", True), ("drop_before", False)])
def test_a_call_of_which_nothing_is_known_until_the_invoice_is_final(world: DispatchWorld, trouble: str, received: bool) -> None:
    """Allowed in time and not answered: it is not sent again past the deadline, and Stripe's summary says what became of it."""
    world.emulator.tell("settings", {"finalization_grace_seconds": GRACE_MS // 1_000, "aggregation_lag_maximum_seconds": 0})
    subscription = _race(world, GRACE_MS + 2 * SECOND_MS, trouble)
    assert "unknown" in world.classes()
    assert world.books("acme", "tokens") == ((1, "7") if received else (0, "0"))
    _assert_accounted_for(world, subscription, invoiced=received)


def test_a_sink_that_judges_lateness_only_at_capture_loses_it(world: DispatchWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same race against a sink without the deadline at the cut and in the lane: acknowledged, on no invoice, in no case."""
    world.emulator.tell("settings", {"finalization_grace_seconds": GRACE_MS // 1_000, "aggregation_lag_maximum_seconds": 0})
    monkeypatch.setattr(lanes, "may_send", lambda _connection, _pick: True)
    monkeypatch.setattr(lanes, "expire", lambda _connection, _writer: 0)
    # The deadline that the lane's own query asks is forgotten as fast as it is written.
    world.ledger.execute(
        """create function ops.forget_deadline() returns trigger language plpgsql as $$ begin new.deadline := null; return new; end $$;
           create trigger forget before insert or update on ops.open_intent for each row execute function ops.forget_deadline();
           create trigger forget before insert or update on ops.uncovered_segment for each row execute function ops.forget_deadline()"""
    )
    subscription = _race(world, GRACE_MS + 2 * SECOND_MS)
    assert (_on_invoice(world, subscription), world.account("in_review"), _cases(world)) == (0, 0, [])
    assert world.account("acknowledged") == 7, "silence: received, never billed, nobody told"
    ((violations,),) = world.rows("select violations from finance.proof where check_name = 'nothing_past_deadline'")
    assert violations > 0, "the proof is not silent"
