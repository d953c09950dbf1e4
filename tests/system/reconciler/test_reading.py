"""The reconciler against an emulated Stripe: what it reads, what it keeps, and what it says of it."""

from __future__ import annotations

from decimal import Decimal

import pytest
import requests

from services.reconciler.app.reconcile_now import reconcile_now
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld, make_meters, wait_idle
from tests.makers.period_world import rounds_of
from tests.system.emulator.running import API_KEY
from trueup.contracts.errors import Transient
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.store import reconciliation
from trueup.ledger.store.instants import instant
from trueup.runtime.settings import StreetSettings

DAY_MS = 24 * HOUR_MS


def _settings(world: DispatchWorld) -> StreetSettings:
    assert world.emulator.clock is not None
    return StreetSettings(
        postgres_dsn=world.database.writer_dsn,
        stripe_url=world.emulator.url,
        stripe_api_key=API_KEY,
        clock=f"simulated:{world.emulator.clock.path}",
    )


def _send(world: DispatchWorld) -> None:
    """Send what was used, and stop."""
    with world.dispatching() as dispatch:
        world.pass_segment()
        wait_idle(dispatch)


def _explanations(world: DispatchWorld) -> list[tuple[Decimal | None, str, bool]]:
    return [(row.quantity_stripe, row.explanation, row.settled) for row in reconciliation.rows(world.ledger)]


def _check(world: DispatchWorld) -> tuple[object, object]:
    """What the proof says of the comparison, and over how much."""
    ((status, evaluated),) = world.rows("select status, evaluated from finance.proof where check_name = 'hours_equal_summaries'")
    return status, evaluated


def _foreign(world: DispatchWorld, value: str, at_ms: int) -> None:
    """Usage that somebody else sends."""
    world.emulator.client().v1.billing.meter_events.create(
        {
            "event_name": world.event_name("tokens"),
            "payload": {"stripe_customer_id": world.stripe_customer("acme"), "value": value},
            "timestamp": at_ms // 1_000,
        }
    )


def test_what_was_sent_is_read_and_agrees(world: DispatchWorld) -> None:
    world.use("acme", "tokens", 5)
    _send(world)
    with rounds_of(world) as room:
        assert not room.activity().idle
        assert not room.ready().ok
        room.step()
        assert room.activity().idle
        assert room.ready().ok
        # Read at once, but too early to be final: nothing says yet that Stripe has counted all of it.
        assert _explanations(world) == [(5, "agrees", False)]
        due = room.activity().next_due_ms
        assert due == (world.now_ms // DAY_MS + 1) * DAY_MS
        room.step()
        assert room.activity().work == 2, "between rounds nothing is read"
        world.set_now(due)
        assert not room.activity().idle
        room.step()
    assert _explanations(world) == [(5, "agrees", True)]
    shown = world.registries[-1].render().decode()
    assert 'trueup_reconciliation_difference_units{meter="tokens"} 0.0' in shown
    assert 'trueup_proof_evaluations_total{check="hours_equal_summaries"}' in shown
    assert 'trueup_proof_violations{check="hours_equal_summaries"} 0.0' in shown
    assert 'trueup_review_open{kind="late"} 0.0' in shown
    (last_success,) = [line for line in shown.splitlines() if line.startswith("trueup_reconciliation_last_success_timestamp_seconds ")]
    assert float(last_success.split()[1]) == due / 1_000


def test_usage_of_somebody_else_is_found_by_the_sweep(world: DispatchWorld) -> None:
    """In an hour where we sent nothing: no reading of what we sent would ever ask for it."""
    world.use("acme", "tokens", 5)
    _send(world)
    with rounds_of(world) as room:
        room.step()
        _foreign(world, "3", world.now_ms - 5 * HOUR_MS)
        for _day in range(4):
            world.set_now((world.now_ms // DAY_MS + 1) * DAY_MS)
            room.step()
    assert _explanations(world) == [(3, "foreign_event", True), (5, "agrees", True)]


def test_reconcile_now_reads_everything_and_explains_it(world: DispatchWorld) -> None:
    world.use("acme", "tokens", 5)
    _send(world)
    _foreign(world, "3", world.now_ms - 5 * HOUR_MS)
    world.advance(3 * HOUR_MS)
    rows = reconcile_now(_settings(world), customer="acme")
    assert [(row.difference, row.explanation) for row in rows] == [(3, "foreign_event"), (0, "agrees")]
    one = reconcile_now(_settings(world), None, world.now_ms - 4 * HOUR_MS, world.now_ms)
    assert [(row.difference, row.explanation) for row in one] == [(0, "agrees")]
    with pytest.raises(LookupError, match="globex has no Stripe customer"):
        reconcile_now(_settings(world), customer="globex")


def test_more_hours_than_a_page(world: DispatchWorld) -> None:
    """Stripe gives 10 rows if it is not asked for more, and 100 at most: 130 hours take two pages."""
    world.use("acme", "tokens", 5)
    _send(world)
    for hour in range(130):
        _foreign(world, "1", world.now_ms - (hour + 2) * HOUR_MS)
    rows = reconcile_now(_settings(world))
    assert sum(row.quantity_stripe or 0 for row in rows) == 135
    assert len(rows) == 131


def test_a_figure_beyond_a_double_is_read_window_by_window(world: DispatchWorld) -> None:
    """Two events of 15 digits in one hour: their sum has 16 and an odd last digit, which the hour's float does not hold."""
    start_ms = (world.now_ms // HOUR_MS - 2) * HOUR_MS
    world.use("acme", "tokens", 5)
    _send(world)
    _foreign(world, "999999999999999", start_ms + MINUTE_MS)
    _foreign(world, "999999999999998", start_ms + 31 * MINUTE_MS)
    rows = reconcile_now(_settings(world))
    (big,) = [row for row in rows if row.hour_start == instant(start_ms)]
    assert big.quantity_stripe == 1_999_999_999_999_997
    ((exact, text),) = world.rows("select exact, value_text from ops.stripe_summary where hour_start = %s", instant(start_ms))
    assert exact
    assert str(text).count("+") == 11


def test_a_window_beyond_a_double_proves_nothing(world: DispatchWorld) -> None:
    start_ms = (world.now_ms // HOUR_MS - 2) * HOUR_MS
    world.use("acme", "tokens", 5)
    _send(world)
    _foreign(world, "999999999999999", start_ms + MINUTE_MS)
    _foreign(world, "999999999999998", start_ms + 2 * MINUTE_MS)
    reconcile_now(_settings(world))
    assert world.rows("select exact from ops.stripe_summary where hour_start = %s", instant(start_ms)) == [(False,)]


def test_subscriptions_become_plans_and_previews(world: DispatchWorld) -> None:
    """A plan-scoped meter learns where its usage goes; what Stripe would invoice stands beside it."""
    world.apply("tokens", plans={"runs": ("basic", "pro")})
    event_name = world.event_name("runs-basic")
    recurring = {"interval": "month", "usage_type": "metered", "meter": f"mtr_{event_name}"}
    world.emulator.tell("products", {"id": "prod_usage", "name": "Usage"})
    world.emulator.tell(
        "prices", {"id": "price_basic", "currency": "usd", "product": "prod_usage", "unit_amount_decimal": "1.5", "recurring": recurring}
    )
    since_ms = world.now_ms - DAY_MS
    wish = {"id": f"sub_{world.suffix}", "customer": world.stripe_customer("acme"), "items": [{"price": "price_basic"}]}
    world.emulator.tell("subscriptions", wish | {"backdate_start_date": since_ms // 1_000})
    with rounds_of(world) as room:
        room.step()
        assert world.rows("select customer, plan, effective_from, subscription_id from ledger.plan_fact") == [
            ("acme", "basic", instant(since_ms), f"sub_{world.suffix}")
        ]
        world.use("acme", "runs", 4)
        _send(world)
        world.advance(3 * DAY_MS)
        room.step()
    (preview,) = reconciliation.previews(world.ledger)
    assert (preview.price_id, preview.stripe_event_name, preview.quantity) == ("price_basic", event_name, 4)
    assert len(world.rows("select * from ledger.plan_fact")) == 1


def test_a_plan_is_learnt_also_where_a_preview_is_refused(world: DispatchWorld) -> None:
    """The reading is not done, and what it said so far is kept."""
    world.apply("tokens", plans={"runs": ("basic", "pro")})
    recurring = {"interval": "month", "usage_type": "metered", "meter": f"mtr_{world.event_name('runs-basic')}"}
    world.emulator.tell("products", {"id": "prod_usage", "name": "Usage"})
    price = {"id": "price_basic", "currency": "usd", "product": "prod_usage", "unit_amount_decimal": "1.5", "recurring": recurring}
    world.emulator.tell("prices", price)
    wish = {"id": f"sub_{world.suffix}", "customer": world.stripe_customer("acme"), "items": [{"price": "price_basic"}]}
    world.emulator.tell("subscriptions", wish)
    world.emulator.tell("faults", [{"path": "/v1/invoices/create_preview", "kind": "500_before", "count": None}])
    with rounds_of(world) as room:
        room.step()
        assert world.rows("select customer, plan from ledger.plan_fact") == [("acme", "basic")]
        assert world.rows("select * from ops.stripe_subscription_read") == []
        world.take_trouble_away()
        room.step()
    assert len(world.rows("select * from ops.stripe_subscription_read")) == 1


def test_a_customer_mapped_between_rounds_is_welcomed_at_once(world: DispatchWorld) -> None:
    with rounds_of(world) as room:
        room.step()
        assert room.activity().idle
        world.map("globex")
        assert not room.activity().idle
        room.step()
        assert room.activity().idle
    assert world.rows("select stripe_customer from ops.stripe_subscription_read order by 1") == [
        (world.stripe_customer("acme"),),
        (world.stripe_customer("globex"),),
    ]


@pytest.mark.parametrize("kind", ["429", "500_before", "drop_before", "drop_after"])
def test_trouble_at_stripe_is_asked_again(world: DispatchWorld, kind: str) -> None:
    world.use("acme", "tokens", 5)
    _send(world)
    world.emulator.tell("faults", [{"path": "/v1/billing/meters/*/event_summaries", "kind": kind, "count": 2}])
    assert [row.explanation for row in reconcile_now(_settings(world))] == ["agrees"]


def test_a_reading_without_an_answer_is_none(world: DispatchWorld) -> None:
    """Nothing is kept as read, the round is not done, and the street's clock is held up for a while only."""
    world.use("acme", "tokens", 5)
    _send(world)
    with rounds_of(world) as room:
        room.step()
        world.advance(4 * DAY_MS)
        before = world.rows("select read_at from ops.stripe_summary")
        world.emulator.tell("faults", [{"path": "/v1/billing/meters/*/event_summaries", "kind": "500_before", "count": 1_000}])
        for _attempt in range(10):
            assert not room.activity().idle
            room.step()
        assert room.activity().idle
        assert not room.ready().ok
        assert world.rows("select read_at from ops.stripe_summary") == before
        with pytest.raises(Transient):
            reconcile_now(_settings(world))
        requests.delete(f"{world.emulator.url}/_emulator/faults", timeout=30).raise_for_status()
        world.advance(DAY_MS)
        room.step()
        assert room.ready().ok
    assert world.rows("select read_at from ops.stripe_summary") == [(instant(world.now_ms),)]


def test_the_proof_is_shown_while_stripe_does_not_say_whose_key_this_is(world: DispatchWorld) -> None:
    """Gauges that stand still would hide whatever else happens meanwhile; nothing is read, for it may be another's."""
    world.use("acme", "tokens", 5)
    _send(world)
    world.emulator.tell("faults", [{"path": "/v1/account", "kind": "500_before", "count": None}])
    with rounds_of(world, OwnAccount(make_meters(world.emulator.url).account)) as room:
        room.step()
        assert 'trueup_proof_evaluations_total{check="accounts_zero_sum"} 1.0' in world.registries[-1].render().decode()
        assert world.rows("select count(*) from ops.stripe_summary") == [(0,)]
        world.take_trouble_away()
        room.step()
        assert room.ready().ok
    assert world.rows("select count(*) from ops.stripe_summary") == [(1,)]


def test_usage_of_somebody_else_where_nothing_was_ever_sent_is_found(world: DispatchWorld) -> None:
    """No lane asks for it, since there is none: every mapped customer is asked about with every meter of the catalogue."""
    _foreign(world, "3", world.now_ms - 5 * HOUR_MS)
    with rounds_of(world) as room:
        room.step()
    (row,) = reconciliation.rows(world.ledger)
    assert (row.customer_id, row.meter, row.difference, row.explanation, row.settled) == ("acme", "tokens", 3, "foreign_event", True)
    assert 'trueup_reconciliation_difference_units{meter="tokens"} 3.0' in world.registries[-1].render().decode()
    assert _check(world) == ("violated", 1)


def test_where_nothing_was_sent_and_nothing_is_there_counts_as_compared(world: DispatchWorld) -> None:
    assert _check(world) == ("pending", 1)
    with rounds_of(world) as room:
        room.step()
        assert _check(world) == ("ok", 1)
        read = world.rows("select read_at from ops.stripe_pair_read")
        assert read == [(instant(world.now_ms),)]
        world.set_now((world.now_ms // DAY_MS + 1) * DAY_MS)
        room.step()
        assert world.rows("select read_at from ops.stripe_pair_read") == read, "once a sweep is enough"
        world.advance(3 * DAY_MS)
        _foreign(world, "3", world.now_ms - 5 * HOUR_MS)
        room.step()
    assert _explanations(world) == [(3, "foreign_event", True)]
    world.advance(20 * DAY_MS)
    assert _check(world)[0] == "violated"


def test_a_silent_pair_is_asked_about_again_once_a_new_catalogue_is_in_force(world: DispatchWorld) -> None:
    """The proof waits for it, for 48 h at most, and the next sweep may be three days away."""
    with rounds_of(world) as room:
        room.step()
        world.advance(HOUR_MS)
        world.apply("tokens", "calls")
        assert _check(world) == ("pending", 2)
        world.set_now((world.now_ms // DAY_MS + 1) * DAY_MS)
        room.step()
        assert _check(world) == ("ok", 2)


def test_a_silent_pair_that_nobody_asks_about_grows_stale(world: DispatchWorld) -> None:
    world.advance(3 * DAY_MS)
    assert _check(world) == ("stale", 1)


def test_what_waited_past_its_limit_pages_although_nothing_of_it_can_be_counted_as_wrong(world: DispatchWorld) -> None:
    world.emulator.tell("faults", [{"path": "/v1/billing/meters*", "kind": "500_before", "count": None}])
    shown = 'trueup_proof_violations{check="hours_equal_summaries"} %s'
    with rounds_of(world) as room:
        room.step()
        assert shown % "0.0" in world.registries[-1].render().decode()
    world.advance(3 * DAY_MS)
    # Another process: one that evaluated the proof a moment ago leaves it alone.
    with rounds_of(world) as room:
        room.step()
        assert world.rows("select status, violations from finance.proof where check_name = 'hours_equal_summaries'") == [("violated", 0)]
        assert shown % "1.0" in world.registries[-1].render().decode()


def test_reconcile_now_asks_where_nothing_was_sent(world: DispatchWorld) -> None:
    _foreign(world, "3", world.now_ms - 5 * HOUR_MS)
    assert reconcile_now(_settings(world), "acme", world.now_ms - 2 * HOUR_MS, world.now_ms) == []
    assert world.rows("select 1 from ops.stripe_pair_read") == [], "a part of the hours says nothing of the whole"
    assert [(row.difference, row.explanation) for row in reconcile_now(_settings(world))] == [(3, "foreign_event")]
