"""A small month to its finalized invoice: sent by dispatch, billed by an emulated Stripe, read through the SDK, posted once."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from services.reconciler.adapters import StripeReader
from services.reconciler.adapters.invoices import InvoiceReader
from services.reconciler.app.preview_now import preview_now
from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld, wait_idle
from tests.makers.period_world import invoicing
from tests.system.emulator.listening import wait_until_idle
from tests.system.emulator.running import API_KEY
from trueup.contracts.errors import Broken
from trueup.ledger.store import customers, invoices
from trueup.ledger.store.instants import instant
from trueup.runtime.clock import SimulatedClock
from trueup.runtime.settings import StreetSettings

DAY_MS = 24 * HOUR_MS
WEEK_SECONDS = 7 * 86_400
TIERS = [{"up_to": 100, "unit_amount": 2}, {"up_to": "inf", "unit_amount_decimal": "0.5", "flat_amount": 30}]
# A price of each kind, what is used of it, and the lines that this comes to, by hand.
PRICES: dict[str, dict[str, Any]] = {
    "tokens": {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": TIERS},
    "calls": {"unit_amount": 500, "transform_quantity": {"divide_by": 1000, "round": "up"}},
    "bytes": {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS},
    "seats": {"unit_amount_decimal": "0.05"},
    "refunds": {"unit_amount": 7},
}
USED = {"tokens": 109, "calls": 1001, "bytes": 9, "seats": 30, "refunds": -5}
LINES = {
    ("bytes", 1, 9, 18),
    ("calls", None, 1001, 1000),
    ("refunds", None, 0, 0),
    ("seats", None, 30, 2),
    ("tokens", 1, 100, 200),
    ("tokens", 2, 9, 35),
}


def _subscribe(world: DispatchWorld, *meters: str) -> None:
    """Acme on a price of each meter, since an hour ago."""
    items = []
    for meter in meters:
        name = world.event_name(meter)
        recurring = {"interval": "month", "usage_type": "metered", "meter": f"mtr_{name}"}
        price = {"id": f"price_{name}", "currency": "usd", "product_data": {"name": meter}, "recurring": recurring, **PRICES[meter]}
        world.emulator.tell("prices", price)
        items.append({"price": f"price_{name}"})
    wish = {"id": f"sub_{world.suffix}", "customer": world.stripe_customer("acme"), "items": items}
    world.emulator.tell("subscriptions", wish | {"backdate_start_date": (world.now_ms - HOUR_MS) // 1_000})


def _send(world: DispatchWorld) -> None:
    with world.dispatching() as dispatch:
        world.pass_segment()
        wait_idle(dispatch)


def _period_end_ms(world: DispatchWorld) -> int:
    found = world.emulator.client().v1.subscriptions.retrieve(f"sub_{world.suffix}").to_dict()
    return int(found["items"]["data"][0]["current_period_end"]) * 1_000


def _go_to(world: DispatchWorld, now_ms: int) -> None:
    world.set_now(now_ms)
    wait_until_idle(world.emulator)


def _checks(world: DispatchWorld) -> dict[str, tuple[int, int, int]]:
    rows = world.rows(
        """select check_name, evaluated, violations, pending from finance.proof
           where check_name in ('lines_equal_ledger', 'amounts_equal_invoice', 'hours_equal_summaries', 'accounts_zero_sum')"""
    )
    return {name: (evaluated, violations, pending) for name, evaluated, violations, pending in rows}


def _lines(world: DispatchWorld) -> set[tuple[object, ...]]:
    found = invoices.lines(world.ledger, "acme", preview=False)
    assert all((line.quantity_difference, line.amount_difference_minor) == (0, 0) for line in found if line.meter != "refunds")
    return {(line.meter, line.tier, line.quantity_stripe, line.amount_stripe_minor) for line in found}


@pytest.fixture
def month(world: DispatchWorld) -> DispatchWorld:
    """Everything used and sent on the first day of the period; Stripe counts at once and leaves a draft for an hour."""
    world.emulator.tell("settings", {"aggregation_lag_maximum_seconds": 0})
    world.apply(*PRICES)
    _subscribe(world, *PRICES)
    for meter, quantity in USED.items():
        world.use("acme", meter, quantity)
    _send(world)
    return world


def test_a_month_to_its_finalized_invoice(month: DispatchWorld) -> None:
    end_ms = _period_end_ms(month)
    with invoicing(month, WEEK_SECONDS) as room:
        assert room.step(month.now_ms).failures == 0
        assert {
            (line.meter, line.tier, line.quantity_stripe, line.amount_stripe_minor) for line in invoices.lines(month.ledger, "acme")
        } == LINES
        # Nothing to do until the period's end, and nothing is read.
        assert room.next_due_ms() == min(month.now_ms + 7 * DAY_MS, end_ms + MINUTE_MS)
        assert room.step(month.now_ms).reads == 0
        _go_to(month, end_ms + MINUTE_MS)
        room.step(month.now_ms)
        assert month.rows("select status from derived.invoice") == [("draft",)]
        assert _checks(month)["amounts_equal_invoice"][1:] == (0, 0)
        assert month.account("invoiced") == 0
        assert room.next_due_ms() == end_ms + HOUR_MS + MINUTE_MS
        _go_to(month, end_ms + HOUR_MS + MINUTE_MS)
        room.step(month.now_ms)
        assert room.post() == 0
    assert _lines(month) == LINES
    assert month.account("invoiced") == 109 + 1001 + 9 + 30
    # A total below zero is billed as none.
    assert (month.account("missed_invoice"), month.account("acknowledged")) == (-5, 0)
    assert _checks(month)["lines_equal_ledger"] == (5, 0, 0)
    assert _checks(month)["amounts_equal_invoice"][1:] == (0, 0)
    assert month.rows("select distinct status from derived.invoice") == [("paid",)]


def test_what_was_sent_before_a_customer_was_mapped_to_another_is_billed_to_the_one_before(month: DispatchWorld) -> None:
    end_ms = _period_end_ms(month)
    month.emulator.tell("customers", {"id": "cus_successor" + month.suffix, "name": "acme"})
    customers.map_customer(month.ledger, "acme", "cus_successor" + month.suffix, reason="test", recorded_by="test")
    with invoicing(month, WEEK_SECONDS) as room:
        assert room.step(month.now_ms).failures == 0
        _go_to(month, end_ms + HOUR_MS + MINUTE_MS)
        assert room.step(month.now_ms).failures == 0
    assert _lines(month) == LINES
    assert month.account("invoiced") == 109 + 1001 + 9 + 30
    assert (month.account("missed_invoice"), month.account("acknowledged")) == (-5, 0)


def test_a_cancelled_subscription_has_its_last_invoice_and_nothing_to_come(month: DispatchWorld) -> None:
    """Nor has the moment between its listing and the call for its preview."""
    identifier = f"sub_{month.suffix}"
    reader = InvoiceReader(API_KEY, month.emulator.url)
    with invoicing(month, WEEK_SECONDS) as room:
        room.step(month.now_ms)
        assert len(month.rows("select from finance.invoice_lines where status = 'preview'")) == len(LINES)
        month.emulator.client().v1.subscriptions.cancel(identifier, {"invoice_now": True})
        assert list(reader.subscription_ids(month.stripe_customer("acme"))) == []
        assert list(reader.preview(month.stripe_customer("acme"), identifier)) == []
        assert month.emulator.clock is not None
        clock = SimulatedClock(month.emulator.clock.path)
        assert list(StripeReader(API_KEY, month.emulator.url, clock).preview(month.stripe_customer("acme"), identifier)) == []
        _go_to(month, month.now_ms + 2 * HOUR_MS)
        assert room.read(invoices.customers(month.ledger)).failures == 0
    assert month.rows("select distinct status from finance.invoice_lines") == [("paid",)]


def test_usage_that_missed_its_invoice_is_missed_with_its_amount(month: DispatchWorld) -> None:
    """Stripe takes it, shows it in its summaries, and puts it on no invoice: 11 more tokens at half a cent, 4.5 + 5.5 above 4.5."""
    used_ms = month.now_ms
    end_ms = _period_end_ms(month)
    with invoicing(month, WEEK_SECONDS) as room:
        _go_to(month, end_ms + HOUR_MS + MINUTE_MS)
        room.step(month.now_ms)
        month.use("acme", "tokens", 11, at_ms=used_ms)
        _send(month)
        assert _checks(month)["lines_equal_ledger"] == (5, 0, 1)
        assert room.post() == 1
        assert room.post() == 0
    assert month.rows("select quantity_missed, amount_missed_minor from ledger.invoice_posting where quantity_missed > 0") == [(11, 5)]
    assert month.account("missed_invoice") == 11 - 5
    assert _checks(month)["lines_equal_ledger"] == (5, 0, 0)
    ((quantity, amount),) = month.rows(
        "select quantity_smallest, amount_at_risk_minor from finance.unbilled_usage where state = 'missed_invoice' and meter = 'tokens'"
    )
    assert (quantity, amount) == (11, 5)


def test_each_preview_is_compared(month: DispatchWorld) -> None:
    with invoicing(month, WEEK_SECONDS) as room:
        room.step(month.now_ms)
        assert _checks(month)["amounts_equal_invoice"] == (5, 0, 0)
        month.rows("update ops.invoice_preview_line set amount_minor = amount_minor - 1 where tier = 2 returning 1")
        assert _checks(month)["amounts_equal_invoice"] == (5, 1, 0)


def test_a_line_that_goes_from_a_preview_to_an_invoice_never_stands_nowhere(month: DispatchWorld) -> None:
    """Nothing would be over its usage in between, and a proof of that moment would call it missed."""
    end_ms = _period_end_ms(month)
    with invoicing(month, WEEK_SECONDS) as room:
        room.step(month.now_ms)
        first = "select count(*) from ops.invoice_preview_line where period_end = %s"
        shown = month.rows(first, instant(end_ms))
        with psycopg.connect(month.database.dsn, autocommit=True) as owner:
            owner.execute(
                """create function ops.fail_here() returns trigger language plpgsql as $$ begin raise 'the disk is full'; end $$;
                   create trigger fail_here before insert on ledger.invoice_snapshot for each row execute function ops.fail_here()"""
            )
            _go_to(month, end_ms + MINUTE_MS)
            with pytest.raises(Broken, match="the disk is full"):
                room.step(month.now_ms)
            assert month.rows(first, instant(end_ms)) == shown != [(0,)]
            owner.execute("drop trigger fail_here on ledger.invoice_snapshot")
        room.step(month.now_ms)
    assert month.rows(first, instant(end_ms)) == [(0,)]
    assert month.rows("select count(*) from finance.invoice_lines where period_end = %s", instant(end_ms)) == shown


def test_a_preview_that_is_refused_keeps_no_final_invoice_from_its_posting(month: DispatchWorld) -> None:
    """As the second page of one may be: what was billed is billed. Nothing is taken for missed until all of the customer was read."""
    end_ms = _period_end_ms(month)
    with invoicing(month, WEEK_SECONDS) as room:
        room.step(month.now_ms)
        before = month.rows("select read_at from ops.invoice_read")
        _go_to(month, end_ms + DAY_MS)
        month.emulator.tell("faults", [{"path": "/v1/invoices/create_preview", "kind": "500_before", "count": None}])
        outcome = room.step(month.now_ms)
        assert (outcome.reads, outcome.failures) == (1, 1)
        assert month.rows("select count(*) from ledger.invoice_posting") != [(0,)]
        twice = "select 1 from finance.invoice_lines where period_end = %s group by subscription_item_id, tier having count(*) > 1"
        assert month.rows(twice, instant(end_ms)) == []
        assert month.rows("select read_at from ops.invoice_read") == before
        month.take_trouble_away()
        assert room.step(month.now_ms).failures == 0


def test_preview_now_shows_what_is_to_come_and_posts_nothing(month: DispatchWorld) -> None:
    assert month.emulator.clock is not None
    settings = StreetSettings(
        postgres_dsn=month.database.writer_dsn,
        stripe_url=month.emulator.url,
        stripe_api_key=API_KEY,
        clock=f"simulated:{month.emulator.clock.path}",
    )
    rows = preview_now(settings, "acme")
    assert {(row.meter, row.tier, row.quantity_stripe, row.amount_stripe_minor) for row in rows} == LINES
    assert all(row.amount_mirror_minor == row.amount_stripe_minor for row in rows)
    assert month.rows("select count(*) from ledger.invoice_posting") == [(0,)]
    assert preview_now(settings, "globex") == []
