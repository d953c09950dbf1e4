"""What finalized invoices do to the books, on a ledger that is true; what Stripe would have shown is given by the test."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from services.reconciler.app.invoices import Invoices
from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.invoices_given import PERIOD_END_MS, PERIOD_START_MS, GivenInvoices, make_invoice, make_line, make_price
from tests.makers.true_ledger import ACK, HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, hours, true_ledger
from tests.makers.usage_story import LATER_MS, told_story
from trueup.ledger.invoices import InvoiceReading, LineReading
from trueup.ledger.periods import PeriodEvent, PeriodFact
from trueup.ledger.store import invoices, journey, periods, reconciliation
from trueup.ledger.store.instants import instant
from trueup.ledger.store.session import Session

TOKENS = make_price("price_tokens", "tokens", unit_amount_decimal="0.5")
SECONDS = make_price("price_seconds", "seconds", unit_amount_decimal="10")


@pytest.fixture
def ledger(database: Database):
    with true_ledger(database) as made:
        yield made


@pytest.fixture
def told(ledger: TrueLedger):
    """109 tokens and 1.50 seconds acknowledged, 40 tokens in review."""
    told_story(ledger)
    return ledger


def _room(ledger: TrueLedger, given: GivenInvoices) -> Invoices:
    return Invoices(Session(ledger.database.writer_dsn, "reconciler"), given, "reconciler", 86_400)


def _billed(ledger: TrueLedger, *lines: Any, **others: Any) -> Invoices:
    """A room that reads one finalized invoice, after the period's end."""
    given = GivenInvoices([make_invoice(*lines, **others)], [TOKENS, SECONDS])
    room = _room(ledger, given)
    ledger.set_now(PERIOD_END_MS + 25 * HOUR_MS)
    assert room.read(invoices.customers(ledger.writer)).failures == 0
    room.post()
    return room


def _use_later(ledger: TrueLedger, quantity: int) -> None:
    """Usage of September that Stripe acknowledges in October."""
    event = make_event("e9", event_time_ms=NOON_MS + 61 * MINUTE_MS, quantity=quantity)
    ledger.capture(make_announced(first_offset=12, on_time=[make_forwarded(12, event, arrival_ms=LATER_MS)], progress_offset=2))
    assert ledger.cut(PERIOD_END_MS + 26 * HOUR_MS) == 1
    ledger.send(ACK, PERIOD_END_MS + 26 * HOUR_MS)


def _use_negative(ledger: TrueLedger, quantity: int) -> None:
    """A month in which more was taken back than used."""
    ledger.map("acme")
    event = make_event("e1", event_time_ms=NOON_MS + MINUTE_MS, quantity=quantity, reason="refund")
    ledger.set_now(NOON_MS + 30 * MINUTE_MS)
    ledger.capture(make_announced(on_time=[make_forwarded(0, event, arrival_ms=NOON_MS + 2 * MINUTE_MS)]))
    ledger.arm()
    ledger.cut(NOON_MS + 2 * HOUR_MS)
    ledger.send(ACK, NOON_MS + 2 * HOUR_MS)


def _accounts(ledger: TrueLedger, meter: str = "tokens") -> dict[str, int]:
    rows = ledger.rows(
        """select a.name, sum(case when p.to_account = a.account_id then p.quantity else -p.quantity end)::bigint
           from ledger.posting p join ledger.subject s using (subject_id)
           join ledger.account a on a.account_id in (p.from_account, p.to_account)
           where s.meter = %s and s.customer = 'acme' and a.name <> 'usage' group by a.name""",
        meter,
    )
    return {str(name): quantity for name, quantity in rows if quantity}  # type: ignore[misc]


def _check(ledger: TrueLedger, name: str) -> tuple[object, ...]:
    ((found),) = ledger.rows(f"select evaluated, violations, pending from derived.check_{name}")
    return found


def test_what_was_billed_is_invoiced(told: TrueLedger):
    _billed(told, make_line(TOKENS, "109", 55), make_line(SECONDS, "1.5", 15, item="si_seconds"))
    assert _accounts(told) == {"invoiced": 109, "in_review": 40}
    assert _accounts(told, "seconds") == {"invoiced": 150}
    assert _check(told, "lines_equal_ledger") == (2, 0, 0)
    assert _check(told, "amounts_equal_invoice") == (2, 0, 0)


def test_what_was_not_billed_is_missed_with_its_amount(told: TrueLedger):
    """100 of 109 at half a cent: 50, and 9 more would have made 54.5, rounded to 55."""
    _billed(told, make_line(TOKENS, "100", 50))
    assert _accounts(told) == {"invoiced": 100, "missed_invoice": 9, "in_review": 40}
    assert told.rows("select quantity_missed, amount_missed_minor, currency from ledger.invoice_posting") == [(9, 5, "usd")]
    assert _check(told, "lines_equal_ledger") == (1, 0, 0)


def test_usage_acknowledged_after_the_invoice_was_posted_is_missed(told: TrueLedger):
    """It reached Stripe after finalization: no invoice will ever have it."""
    room = _billed(told, make_line(TOKENS, "109", 55))
    _use_later(told, 6)
    assert _check(told, "lines_equal_ledger") == (1, 0, 1)
    assert room.post() == 1
    assert _accounts(told) == {"invoiced": 109, "missed_invoice": 6, "in_review": 40}
    assert told.rows("select quantity_missed, amount_missed_minor from ledger.invoice_posting order by 1") == [(0, 0), (6, 3)]
    assert _check(told, "lines_equal_ledger") == (1, 0, 0)
    # What Stripe was told when the invoice was final agrees with its summary and is on no invoice: the hour says so, no other does.
    told.read("tokens", hours((0, 9), (1, 106)), PERIOD_END_MS + 30 * HOUR_MS)
    explained = [(row.hour_start, row.difference, row.explanation) for row in reconciliation.rows(told.writer) if row.meter == "tokens"]
    assert explained[1:] == [(instant(NOON_MS), 0, "agrees"), (instant(NOON_MS + HOUR_MS), 0, "late_after_close")]
    assert _check(told, "hours_equal_summaries")[1] == 0


def test_the_journey_ends_at_the_line_of_the_invoice(told: TrueLedger):
    """Its intent is billed as a whole: the event shares its lines, and what they leave out."""
    _billed(told, make_line(TOKENS, "100", 50, line_id="il_1"))
    steps = {event: journey.explain(told.writer, "inference", event)[-1] for event in ("e1", "e4")}
    assert [(step.step, step.detail) for step in steps.values()] == [
        ("invoiced", "invoice in_1 (A-1), line il_1; of intent 2 9 billed"),
        ("invoiced", "invoice in_1 (A-1), line il_1; of intent 3 91 billed; 9 missed"),
    ]


def test_the_journey_of_what_no_invoice_bills_says_so(told: TrueLedger):
    room = _billed(told, make_line(TOKENS, "109", 55))
    _use_later(told, 6)
    room.post()
    step = journey.explain(told.writer, "inference", "e9")[-1]
    assert (step.step, step.detail) == ("missed_invoice", "invoice in_1 (A-1), line il_si_tokens_109; of intent 4 0 billed; 6 missed")


def test_a_negative_total_is_billed_as_nothing(ledger: TrueLedger):
    _use_negative(ledger, -5)
    _billed(ledger, make_line(TOKENS, "0", 0))
    assert _accounts(ledger) == {"missed_invoice": -5}
    assert ledger.rows("select quantity_billed, quantity_invoiced, quantity_missed, amount_missed_minor from ledger.invoice_posting") == [
        (0, 0, -5, 0)
    ]
    assert _check(ledger, "lines_equal_ledger") == (1, 0, 0)


def test_what_stripe_has_too_much_of_is_a_finding(told: TrueLedger):
    _billed(told, make_line(TOKENS, "110", 55))
    assert _accounts(told) == {"invoiced": 109, "in_review": 40}
    assert _check(told, "lines_equal_ledger") == (1, 1, 0)


def test_a_minor_unit_of_difference_is_a_finding(told: TrueLedger):
    _billed(told, make_line(TOKENS, "109", 54))
    assert _check(told, "amounts_equal_invoice") == (1, 1, 0)
    (row,) = invoices.lines(told.writer, "acme")
    assert (row.amount_expected_minor, row.amount_stripe_minor, row.amount_difference_minor) == (55, 54, -1)


def test_again_posts_nothing(told: TrueLedger):
    room = _billed(told, make_line(TOKENS, "100", 50))
    before = told.rows("select count(*) from ledger.posting")
    told.admin.execute("delete from ops.invoice_read")
    room.step(PERIOD_END_MS + 26 * HOUR_MS)
    assert room.post() == 0
    assert told.rows("select count(*) from ledger.posting") == before
    assert told.rows("select count(*) from ledger.invoice_snapshot") == [(1,)]


def test_two_at_once_post_once(told: TrueLedger):
    """Both found the same item to post; the lane's lock lets one go first, and the other then finds nothing."""
    given = GivenInvoices([make_invoice(make_line(TOKENS, "100", 50))], [TOKENS])
    told.set_now(PERIOD_END_MS + 25 * HOUR_MS)
    rooms = [_room(told, given) for _ in range(4)]
    rooms[0].read(invoices.customers(told.writer))
    counts: list[int] = []
    threads = [threading.Thread(target=lambda room=room: counts.append(room.post())) for room in rooms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 1
    assert _accounts(told) == {"invoiced": 100, "missed_invoice": 9, "in_review": 40}


def test_killed_between_reading_and_posting(told: TrueLedger):
    """The invoice is kept, nothing is posted: another process posts it, once."""
    given = GivenInvoices([make_invoice(make_line(TOKENS, "109", 55))], [TOKENS])
    told.set_now(PERIOD_END_MS + 25 * HOUR_MS)
    _room(told, given).read(invoices.customers(told.writer))
    assert _check(told, "lines_equal_ledger") == (1, 0, 1)
    assert _room(told, GivenInvoices([], [])).post() == 1
    assert _accounts(told) == {"invoiced": 109, "in_review": 40}


def test_a_draft_moves_nothing(told: TrueLedger):
    _billed(told, make_line(TOKENS, "109", 55), status="draft", finalized_at_ms=None)
    assert _accounts(told) == {"acknowledged": 109, "in_review": 40}
    assert _check(told, "lines_equal_ledger") == (0, 0, 0)
    assert _check(told, "amounts_equal_invoice") == (1, 0, 0)


def test_a_voided_invoice_bills_nothing(told: TrueLedger):
    _billed(told, make_line(TOKENS, "109", 55))
    told.set_now(PERIOD_END_MS + 26 * HOUR_MS)
    _billed(told, make_line(TOKENS, "109", 55), status="void")
    assert _check(told, "lines_equal_ledger") == (1, 1, 0)


def test_a_subscription_that_ends_without_an_invoice_bills_nothing(told: TrueLedger):
    """Cancelled at once, as Stripe does unless asked for a last invoice: its usage was received and is on no invoice ever."""
    told.set_now(NOON_MS + 6 * HOUR_MS)
    room = _room(told, GivenInvoices([], [TOKENS], {"sub_acme": [make_line(TOKENS, "109", 55, item="si_acme")]}))
    room.read(invoices.customers(told.writer))
    told.admin.execute(
        """insert into ledger.stripe_event (event_id, type, object_id, stripe_customer, created, received_at, via, body, recorded_at)
           values ('evt_1', 'customer.subscription.deleted', 'sub_acme', 'cus_acme', ops.now(), ops.now(), 'poll', '{}', ops.now())"""
    )
    assert room.post() == 0
    told.set_now(NOON_MS + 8 * HOUR_MS)
    ended = _room(told, GivenInvoices([], [TOKENS]))
    ended.read(invoices.customers(told.writer))
    assert ended.post() == 1
    assert _accounts(told) == {"missed_invoice": 109, "in_review": 40}
    assert told.rows("select invoice_id, quantity_missed, amount_missed_minor from ledger.invoice_posting") == [("none:sub_acme", 109, 55)]
    assert _check(told, "lines_equal_ledger") == (1, 0, 0)
    assert ended.post() == 0


def test_what_an_invoice_would_have_billed_that_was_voided_is_missed_once_its_subscription_is_over(told: TrueLedger):
    """Voided before anything was posted for it: no other invoice comes, and the usage must not stand in acknowledged for ever."""
    with told.sabotage() as hand:
        hand.execute("delete from ledger.billing_period where subscription_item_id = 'si_acme'")
    periods.record_period(
        told.writer,
        PeriodFact("si_tokens", "sub_acme", "cus_acme", "price_tokens", "tokens", "basic", "usd", PERIOD_START_MS, PERIOD_END_MS),
    )
    room = _billed(told, make_line(TOKENS, "109", 55), status="void")
    assert _accounts(told) == {"acknowledged": 109, "in_review": 40}
    told.admin.execute(
        """insert into ledger.stripe_event (event_id, type, object_id, stripe_customer, created, received_at, via, body, recorded_at)
           values ('evt_1', 'customer.subscription.deleted', 'sub_acme', 'cus_acme', ops.now(), ops.now(), 'poll', '{}', ops.now())"""
    )
    told.set_now(PERIOD_END_MS + 10 * 24 * HOUR_MS)
    room.step(PERIOD_END_MS + 10 * 24 * HOUR_MS)
    assert _accounts(told) == {"missed_invoice": 109, "in_review": 40}
    assert _check(told, "lines_equal_ledger") == (1, 0, 0)


def test_tiers_and_packages(told: TrueLedger):
    """Graduated: 100 at 1 and 9 at half; the package price: two seconds begun cost two packages."""
    tiers = [{"up_to": 100, "unit_amount_decimal": "1"}, {"up_to": None, "unit_amount_decimal": "0.5"}]
    graduated = make_price("price_tokens", "tokens", billing_scheme="tiered", tiers_mode="graduated", tiers=tiers)
    package = make_price("price_seconds", "seconds", unit_amount_decimal="7", transform_quantity={"divide_by": 1, "round": "up"})
    lines = [make_line(graduated, "100", 100), make_line(graduated, "9", 5), make_line(package, "1.5", 14, item="si_seconds")]
    room = _room(told, GivenInvoices([make_invoice(*lines)], [graduated, package]))
    told.set_now(PERIOD_END_MS + 25 * HOUR_MS)
    room.step(PERIOD_END_MS + 25 * HOUR_MS)
    assert _check(told, "amounts_equal_invoice") == (2, 0, 0)
    assert _check(told, "lines_equal_ledger") == (2, 0, 0)
    found = [
        (row.tier, row.quantity_ledger, row.quantity_difference, row.amount_expected_minor, row.amount_difference_minor)
        for row in invoices.lines(told.writer, "acme")
    ]
    assert sorted(found, key=str) == sorted([(1, 100, 0, 100, 0), (2, 9, 0, 5, 0), (None, Decimal("1.50"), 0, 14, 0)], key=str)


def test_a_price_that_is_not_understood_is_a_finding_not_a_guess(told: TrueLedger):
    strange = make_price("price_tokens", "tokens", billing_scheme="tiered", tiers_mode="staircase")
    room = _room(told, GivenInvoices([make_invoice(make_line(strange, "100", 50))], [strange]))
    told.set_now(PERIOD_END_MS + 25 * HOUR_MS)
    room.step(PERIOD_END_MS + 25 * HOUR_MS)
    assert _check(told, "amounts_equal_invoice") == (1, 1, 0)
    assert _accounts(told) == {"invoiced": 100, "missed_invoice": 9, "in_review": 40}
    assert told.rows("select quantity_missed, amount_missed_minor from ledger.invoice_posting") == [(9, None)]


def test_facts_may_not_be_changed(told: TrueLedger):
    _billed(told, make_line(TOKENS, "100", 50))
    for table in ("stripe_price", "invoice_snapshot", "invoice_line", "invoice_posting", "invoice_allocation"):
        with pytest.raises(psycopg.errors.RestrictViolation):
            told.admin.execute(f"delete from ledger.{table}".encode())


SWAP_MS = NOON_MS + HOUR_MS
PRO = make_price("price_pro", "tokens", unit_amount_decimal="2")


def _swapped(ledger: TrueLedger, *, event_name: str = "tokens", price_id: str = "price_pro") -> None:
    """Acme's item bills September; at SWAP_MS its price is swapped, and the period's newest fact names the new one only."""
    old = PeriodFact("si_1", "sub_acme", "cus_acme", "price_tokens", "tokens", "basic", "usd", PERIOD_START_MS, PERIOD_END_MS)
    assert periods.record_period(ledger.writer, old)
    assert periods.record_period(ledger.writer, replace(old, price_id=price_id, stripe_event_name=event_name))
    # The story's own item bills the same tokens in another subscription: it is not of this one.
    with ledger.sabotage() as hand:
        hand.execute("delete from ledger.billing_period where subscription_item_id = 'si_acme'")


def _stands(ledger: TrueLedger, start_ms: int, status: str, invoice_id: str | None, deadline_ms: int) -> None:
    """What the keeper says of a period of acme's item."""
    assert periods.record_event(ledger.writer, PeriodEvent("si_1", start_ms, status, invoice_id, deadline_ms, "grace", "test"))


def _sweep(ledger: TrueLedger, room: Invoices, now_ms: int) -> None:
    """All invoices are read again at an instant, and what they bill is posted."""
    ledger.set_now(now_ms)
    assert room.read(invoices.customers(ledger.writer)).failures == 0
    room.post()


def _money(ledger: TrueLedger) -> tuple[int, ...]:
    """What the roll-forward says of acme's tokens: used less what was taken back, invoiced, and left."""
    (row,) = ledger.rows(
        """select sum(usage_minor + corrections_minor), sum(invoiced_minor), sum(usage_minor + corrections_minor - invoiced_minor)
           from finance.roll_forward where meter = 'tokens'"""
    )
    return tuple(map(int, row))


def test_usage_before_a_swap_that_no_line_bills_is_missed_at_the_old_price(told: TrueLedger):
    """In classic mode the new price's line begins at the swap: 9 tokens from before it are on no line of the final invoice."""
    _swapped(told)
    line = replace(make_line(PRO, "100", 200, item="si_1"), period_start_ms=SWAP_MS)
    room = _room(told, GivenInvoices([make_invoice(line)], [TOKENS, PRO]))
    told.set_now(PERIOD_END_MS + 25 * HOUR_MS)
    room.read(invoices.customers(told.writer))
    assert _check(told, "lines_equal_ledger") == (2, 0, 2)
    assert room.post() == 2
    assert _accounts(told) == {"invoiced": 100, "missed_invoice": 9, "in_review": 40}
    assert told.rows(
        "select invoice_id, price_id, quantity_billed, quantity_missed, amount_missed_minor from ledger.invoice_posting order by 1"
    ) == [("in_1", "price_pro", 100, 0, 0), ("unlined:in_1:tokens", "price_tokens", 0, 9, 5)]
    assert _check(told, "lines_equal_ledger") == (2, 0, 0)
    assert room.post() == 0
    assert told.rows(
        "select quantity_smallest, amount_at_risk_minor, currency from finance.unbilled_usage where state = 'missed_invoice'"
    ) == [(9, 5, "usd")]
    assert journey.explain(told.writer, "inference", "e1")[-1].detail == "invoice in_1 (A-1), line none; of intent 2 0 billed; 9 missed"
    # 49 from before the swap at half a cent and 100 at two cents; left are the 9 that were missed and the 40 in review.
    room.value()
    assert _money(told) == (225, 200, 25)


def test_both_prices_of_a_period_leave_only_what_is_in_review(told: TrueLedger):
    """In flexible mode the usage before the swap has a line at the old price, on an invoice of its own."""
    _swapped(told)
    before = replace(make_line(TOKENS, "9", 5, item="si_1"), period_end_ms=SWAP_MS)
    after = replace(make_line(PRO, "100", 200, item="si_1"), period_start_ms=SWAP_MS)
    at_once = replace(make_invoice(before, invoice_id="in_swap", finalized_at_ms=SWAP_MS), created_at_ms=SWAP_MS)
    room = _room(told, GivenInvoices([at_once, make_invoice(after)], [TOKENS, PRO]))
    told.set_now(PERIOD_END_MS + 25 * HOUR_MS)
    room.read(invoices.customers(told.writer))
    assert room.post() == 2
    assert _accounts(told) == {"invoiced": 109, "in_review": 40}
    room.value()
    assert _money(told) == (225, 205, 20)


def test_a_meter_that_a_swap_left_behind_is_missed_once_its_invoice_is_final(told: TrueLedger):
    """Plans with meters of their own: the old meter has no line at all, and the newest fact does not name it any more."""
    _swapped(told, event_name="runs_pro")
    given = [make_invoice(make_line(SECONDS, "1.5", 15, item="si_2"), status="draft", finalized_at_ms=None)]
    room = _room(told, GivenInvoices(given, [TOKENS, SECONDS]))
    told.set_now(PERIOD_END_MS + HOUR_MS)
    room.read(invoices.customers(told.writer))
    assert room.post() == 0
    assert _accounts(told)["acknowledged"] == 109, "until the invoice is final a line may come"
    _billed(told, make_line(SECONDS, "1.5", 15, item="si_2"))
    assert _accounts(told) == {"missed_invoice": 109, "in_review": 40}
    assert (
        told.rows("select period_start, period_end, currency from finance.unbilled_usage where state = 'missed_invoice'")
        == [(instant(PERIOD_START_MS), instant(PERIOD_END_MS), "usd")] * 2
    )
    assert _check(told, "lines_equal_ledger") == (2, 0, 0)


@pytest.mark.parametrize("billed_at_once", [9, 0])
def test_what_a_voided_invoice_would_have_billed_is_missed_though_an_earlier_one_billed_a_part(told: TrueLedger, billed_at_once: int):
    """Billed up to a swap at once, or not; the period's own invoice is voided before it was posted, and the subscription goes on."""
    _swapped(told)
    before = replace(make_line(TOKENS, "9", 5, item="si_1"), period_end_ms=SWAP_MS)
    at_once = replace(make_invoice(before, invoice_id="in_swap", finalized_at_ms=SWAP_MS), created_at_ms=SWAP_MS)
    after = make_line(PRO, "100", 200, item="si_1")
    if billed_at_once:
        after = replace(after, period_start_ms=SWAP_MS)
    voided = make_invoice(after, status="void")
    _stands(told, PERIOD_START_MS, "settled", "in_1", PERIOD_END_MS + 24 * HOUR_MS)
    room = _room(told, GivenInvoices([at_once, voided] if billed_at_once else [voided], [TOKENS, PRO]))
    _sweep(told, room, PERIOD_END_MS + 2 * 24 * HOUR_MS)
    assert _accounts(told).get("missed_invoice", 0) == 0, "another invoice may come for three days"
    _sweep(told, room, PERIOD_END_MS + 5 * 24 * HOUR_MS)
    bills = {"invoiced": billed_at_once} if billed_at_once else {}
    assert _accounts(told) == {**bills, "missed_invoice": 109 - billed_at_once, "in_review": 40}
    assert _check(told, "lines_equal_ledger")[1:] == (0, 0)


SECOND_END_MS = SWAP_MS + 30 * 24 * HOUR_MS


def _backdated(ledger: TrueLedger) -> LineReading:
    """Classic: the next cycle's invoice bills the period before it too, in one line. 9 of 109 tokens are from that one."""
    with ledger.sabotage() as hand:
        hand.execute("delete from ledger.billing_period where subscription_item_id = 'si_acme'")
    first = PeriodFact("si_1", "sub_acme", "cus_acme", "price_tokens", "tokens", "basic", "usd", PERIOD_START_MS, SWAP_MS)
    assert periods.record_period(ledger.writer, first)
    assert periods.record_period(ledger.writer, replace(first, start_ms=SWAP_MS, end_ms=SECOND_END_MS))
    # No invoice came for it.
    _stands(ledger, PERIOD_START_MS, "settled", None, SWAP_MS + 24 * HOUR_MS)
    return replace(make_line(TOKENS, "109", 55, item="si_1"), period_end_ms=SECOND_END_MS)


def test_what_the_coming_invoice_shows_is_not_missed_however_long_ago_its_period_ended(told: TrueLedger):
    line = _backdated(told)
    _sweep(told, _room(told, GivenInvoices([], [TOKENS], {"sub_acme": [line]})), SWAP_MS + 5 * 24 * HOUR_MS)
    assert _accounts(told) == {"acknowledged": 109, "in_review": 40}
    final = replace(make_invoice(line, finalized_at_ms=SECOND_END_MS + 24 * HOUR_MS), created_at_ms=SECOND_END_MS)
    _sweep(told, _room(told, GivenInvoices([final], [TOKENS])), SECOND_END_MS + 25 * HOUR_MS)
    assert _accounts(told) == {"invoiced": 109, "in_review": 40}
    assert _check(told, "lines_equal_ledger")[1:] == (0, 0)


class InvoicedMeanwhile(GivenInvoices):
    """The coming invoice is made after the first answer of a reading."""

    answers = 0

    def invoices(self, stripe_customer: str, since_ms: int) -> Sequence[InvoiceReading]:
        """None in the first answer."""
        self.answers += 1
        return super().invoices(stripe_customer, since_ms) if self.answers > 1 else []

    def preview(self, stripe_customer: str, subscription_id: str) -> Sequence[LineReading]:
        """Only in the first answer."""
        self.answers += 1
        return super().preview(stripe_customer, subscription_id) if self.answers == 1 else []


def test_a_line_that_goes_to_its_invoice_during_a_reading_is_not_missed(told: TrueLedger):
    line = _backdated(told)
    draft = replace(make_invoice(line, status="draft", finalized_at_ms=None), created_at_ms=SECOND_END_MS)
    _sweep(told, _room(told, InvoicedMeanwhile([draft], [TOKENS], {"sub_acme": [line]})), SECOND_END_MS + MINUTE_MS)
    assert _accounts(told) == {"acknowledged": 109, "in_review": 40}


def test_two_meters_of_one_period_are_each_missed_by_itself(told: TrueLedger):
    """A swap left tokens for seconds, and the subscription is cancelled without an invoice: both are missed, each at its own price."""
    with told.sabotage() as hand:
        hand.execute("delete from ledger.billing_period where stripe_customer = 'cus_acme'")
    _swapped(told, event_name="seconds", price_id="price_seconds")
    told.admin.execute(
        """insert into ledger.stripe_event (event_id, type, object_id, stripe_customer, created, received_at, via, body, recorded_at)
           values ('evt_1', 'customer.subscription.deleted', 'sub_acme', 'cus_acme', ops.now(), ops.now(), 'poll', '{}', ops.now())"""
    )
    room = _room(told, GivenInvoices([], [TOKENS, SECONDS]))
    _sweep(told, room, PERIOD_END_MS)
    assert told.rows("select invoice_id, price_id, quantity_missed, amount_missed_minor from ledger.invoice_posting order by 1") == [
        ("none:sub_acme", "price_seconds", 150, 15),
        ("none:sub_acme:tokens", "price_tokens", 109, 55),
    ]
    assert _accounts(told) == {"missed_invoice": 109, "in_review": 40}
    assert _accounts(told, "seconds") == {"missed_invoice": 150}
    assert _check(told, "lines_equal_ledger") == (2, 0, 0)
    assert room.post() == 0


def test_a_period_may_hold_more_than_64_bits(ledger: TrueLedger):
    """Eleven intents, each within them: one customer's large meter must not end the month for all the others."""
    ledger.map("acme")
    ledger.arm()
    seconds = PeriodFact("si_seconds", "sub_acme", "cus_acme", "price_fine", "seconds", "basic", "usd", PERIOD_START_MS, PERIOD_END_MS)
    assert periods.record_period(ledger.writer, seconds)
    windows = range(11)
    events = [make_event(f"e{n}", event_time_ms=NOON_MS - n * HOUR_MS, meter="seconds", quantity=1) for n in windows]
    ledger.capture(make_announced(on_time=[make_forwarded(n, events[n], arrival_ms=NOON_MS) for n in windows]))
    assert ledger.cut(NOON_MS + 3 * HOUR_MS) == len(windows)
    ledger.send(ACK, NOON_MS + 3 * HOUR_MS)
    # Thousands of events add up to this; what they are beside their sums is of no matter here.
    each = 900_000_000_000_000_000
    for table in ("posting", "intent"):
        ledger.admin.execute(f"alter table ledger.{table} disable trigger all")
        ledger.admin.execute(f"update ledger.{table} set quantity = {each}")
        ledger.admin.execute(f"alter table ledger.{table} enable trigger all")

    price = make_price("price_fine", "seconds", unit_amount_decimal="0.000001")
    given = GivenInvoices([make_invoice(make_line(price, "99000000000000000", 99_000_000_000, item="si_seconds"))], [price])
    room = _room(ledger, given)
    ledger.set_now(PERIOD_END_MS + 25 * HOUR_MS)
    assert room.read(invoices.customers(ledger.writer)).failures == 0
    assert room.post() == 1
    assert room.post() == 0
    posted = "select quantity_billed, quantity_acknowledged, quantity_invoiced, quantity_missed from ledger.invoice_posting"
    assert ledger.rows(posted) == [(11 * each, 11 * each, 11 * each, 0)]
    assert sum(month.used for month in invoices.period_months(ledger.writer)) == 11 * each
    money = "select usage_minor, invoiced_minor, closing_minor, closing_quantity * 100 from finance.roll_forward order by month"
    assert ledger.rows(money) == [(99_000_000_000, 0, 99_000_000_000, 11 * each), (0, 99_000_000_000, 0, 0)]
