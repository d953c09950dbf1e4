"""What finance sees of invoices: unbilled usage with its worth, the roll-forward, and that a reader's role may look."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from psycopg.rows import dict_row

from services.reconciler.app.invoices import Invoices
from tests.conftest import Database
from tests.contract.ledger.test_shared_event_names import apply_second
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.invoices_given import FINALIZED_MS, PERIOD_END_MS, PERIOD_START_MS, GivenInvoices, make_invoice, make_line, make_price
from tests.makers.true_ledger import ACK, CATALOGUE_TOML, HOUR_MS, NOON_MS, TrueLedger, true_ledger
from tests.makers.usage_story import PERIOD, captured_story, told_story
from trueup.contracts.pricing import amount_of, parse_price
from trueup.ledger.invoices import LineReading, PriceReading
from trueup.ledger.periods import PeriodFact
from trueup.ledger.store import invoices, periods
from trueup.ledger.store.connection import connect
from trueup.ledger.store.instants import instant
from trueup.ledger.store.session import Session

TOKENS = make_price("price_tokens", "tokens", unit_amount_decimal="0.5")
SECONDS = make_price("price_seconds", "seconds", unit_amount_decimal="10")
COLUMNS = (
    "invoice_id invoice_number line_id subscription_item_id customer_id period_start period_end plan meter price_id tier"
    " unit_amount_decimal quantity_ledger quantity_stripe quantity_difference amount_expected_minor amount_stripe_minor"
    " amount_difference_minor discount_minor tax_minor credits_applied_minor currency status finalized_at"
)


@pytest.fixture
def ledger(database: Database):
    with true_ledger(database) as made:
        yield made


@pytest.fixture
def finance(database: Database, ledger: TrueLedger):
    with connect(database.dsn_of("finance_ro"), "test") as opened:
        opened.row_factory = dict_row
        yield opened


def _read(ledger: TrueLedger, given: GivenInvoices, now_ms: int) -> None:
    ledger.set_now(now_ms)
    session = Session(ledger.database.writer_dsn, "reconciler")
    room = Invoices(session, given, "reconciler", 86_400)
    room.read(invoices.customers(ledger.writer))
    room.post()
    room.value()
    session.close()


def _unbilled(finance, state: str):
    return finance.execute("select * from finance.unbilled_usage where state = %s order by meter, hour", (state,)).fetchall()


def test_invoice_lines_have_the_columns_of_the_contract(ledger: TrueLedger, finance):
    told_story(ledger)
    lines = [make_line(TOKENS, "109", 55), make_line(SECONDS, "1.5", 15, item="si_seconds")]
    _read(ledger, GivenInvoices([make_invoice(*lines)], [TOKENS, SECONDS]), FINALIZED_MS + HOUR_MS)
    found = finance.execute("select * from finance.invoice_lines order by meter").fetchall()
    assert list(found[0])[: len(COLUMNS.split())] == COLUMNS.split()
    assert [(row["meter"], row["quantity_ledger"], row["quantity_stripe"], row["amount_expected_minor"]) for row in found] == [
        ("seconds", Decimal("1.50"), Decimal("1.5"), 15),
        ("tokens", 109, 109, 55),
    ]
    assert {(row["customer_id"], row["status"], row["currency"], row["finalized_at"]) for row in found} == {
        ("acme", "paid", "usd", instant(FINALIZED_MS))
    }


def test_what_is_open_has_its_worth_and_its_deadline(ledger: TrueLedger, finance):
    """Hours are valued by themselves: 9 tokens at half a cent are 4.5, 100 are 50."""
    told_story(ledger)
    line = replace(make_line(TOKENS, "109", 55, item="si_acme"), period_start_ms=PERIOD.start_ms, period_end_ms=PERIOD.end_ms)
    preview = {"sub_acme": [line]}
    _read(ledger, GivenInvoices([], [TOKENS], preview), NOON_MS + 6 * HOUR_MS)
    tokens = [row for row in _unbilled(finance, "acknowledged_not_invoiced") if row["meter"] == "tokens"]
    assert [(row["quantity_smallest"], row["amount_at_risk_minor"], row["currency"]) for row in tokens] == [(9, 5, "usd"), (100, 50, "usd")]
    assert {row["deadline"] for row in tokens} == {instant(PERIOD.end_ms + 24 * HOUR_MS - HOUR_MS // 6)}
    (seconds,) = [row for row in _unbilled(finance, "acknowledged_not_invoiced") if row["meter"] == "seconds"]
    assert (seconds["amount_at_risk_minor"], seconds["deadline"]) == (None, None)


def test_what_was_missed_has_the_amount_that_was_posted(ledger: TrueLedger, finance):
    told_story(ledger)
    _read(ledger, GivenInvoices([make_invoice(make_line(TOKENS, "100", 50))], [TOKENS]), FINALIZED_MS + HOUR_MS)
    (row,) = _unbilled(finance, "missed_invoice")
    assert (row["meter"], row["quantity_smallest"], row["amount_at_risk_minor"], row["currency"]) == ("tokens", 9, 5, "usd")


def test_usage_without_a_price_says_so(ledger: TrueLedger, finance):
    """A period of acme's is known, and none that is of a price for its seconds."""
    captured_story(ledger)
    preview = {"sub_acme": [make_line(TOKENS, "0", 0)]}
    _read(ledger, GivenInvoices([], [TOKENS], preview), NOON_MS + HOUR_MS + HOUR_MS // 2)
    period = PeriodFact("si_tokens", "sub_acme", "cus_acme", "price_tokens", "tokens", "basic", "usd", PERIOD_START_MS, PERIOD_END_MS)
    periods.record_period(ledger.writer, period)
    ledger.cut(NOON_MS)
    assert {(row["customer_id"], row["meter"]) for row in _unbilled(finance, "no_price")} == {("acme", "seconds")}
    (row,) = [row for row in _unbilled(finance, "unsent") if row["quantity_smallest"] == 100]
    assert (row["period_start"], row["period_end"], row["amount_at_risk_minor"]) == (instant(PERIOD_START_MS), instant(PERIOD_END_MS), 50)
    assert row["deadline"] == instant(PERIOD_END_MS + 24 * HOUR_MS - HOUR_MS // 6)


def test_what_is_booked_stays_when_the_meter_gets_another_name_at_stripe(ledger: TrueLedger, finance):
    """Its units would lose their currency, and a month that was closed would open again."""
    told_story(ledger)
    _read(ledger, GivenInvoices([make_invoice(make_line(TOKENS, "100", 50))], [TOKENS]), FINALIZED_MS + HOUR_MS)
    statement = "select * from finance.roll_forward order by month, meter, currency"
    before = finance.execute(statement).fetchall()
    assert ("tokens", "usd") in {(row["meter"], row["currency"]) for row in before}
    apply_second(ledger, CATALOGUE_TOML.replace('stripe_event_name = "tokens"', 'stripe_event_name = "tokens_2"'), FINALIZED_MS + HOUR_MS)
    assert finance.execute(statement).fetchall() == before


TIERS = [{"up_to": 100, "unit_amount": 2}, {"up_to": "inf", "unit_amount_decimal": "0.5", "flat_amount": 30}]
KINDS: dict[str, dict[str, Any]] = {
    "per unit": {"unit_amount_decimal": "0.5"},
    "graduated": {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": TIERS},
    "volume": {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS},
    "package": {"unit_amount": 500, "transform_quantity": {"divide_by": 100, "round": "up"}},
    "flat": {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": [{"up_to": "inf", "unit_amount": 1, "flat_amount": 999}]},
}
# 60 used in September, 80 used and 20 taken back in October, by hand: September's worth, October's use, what was taken back, the bill.
WORTHS = {
    "per unit": (30, 40, -10, 60),
    "graduated": (120, 130, -10, 240),
    "volume": (120, -20, -10, 90),
    "package": (500, 500, 0, 1_000),
    "flat": (1_059, 80, -20, 1_119),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missed", [0, 20])
def test_a_period_that_is_invoiced_in_full_leaves_nothing(ledger: TrueLedger, finance, kind: str, missed: int):
    """Recorded over two months, at any kind of price; what an invoice missed leaves what it would have cost on top."""
    ledger.map("acme")
    ledger.arm()
    fact = PeriodFact("si_tokens", "sub_acme", "cus_acme", "price_tokens", "tokens", "basic", "usd", PERIOD_START_MS, PERIOD_END_MS)
    assert periods.record_period(ledger.writer, fact)
    _book(ledger, 0, (60, None), now_ms=NOON_MS + HOUR_MS)
    _book(ledger, 1, (80, None), (-20, "refund"), now_ms=PERIOD_END_MS + HOUR_MS)
    price = make_price("price_tokens", "tokens", **KINDS[kind])
    lines = _lines(price, 120 - missed)
    _read(ledger, GivenInvoices([make_invoice(*lines)], [price]), FINALIZED_MS + HOUR_MS)
    first, more, back, bill = WORTHS[kind]
    billed = sum(line.amount_minor for line in lines)
    assert missed or billed == bill
    rows = finance.execute("select * from finance.roll_forward order by month").fetchall()
    money = ("opening_minor", "usage_minor", "corrections_minor", "invoiced_minor", "closing_minor")
    assert [tuple(row[name] for name in money) for row in rows] == [(0, first, 0, 0, first), (first, more, back, billed, bill - billed)]
    assert [row["closing_quantity"] for row in rows] == [60, missed]
    # What is recorded after it was worked out counts at the margin until the next reading.
    _book(ledger, 3, (0, None), now_ms=FINALIZED_MS + 2 * HOUR_MS)
    assert finance.execute("select sum(closing_minor) from finance.roll_forward where month >= '2026-10-01'").fetchone() == {
        "sum": bill - billed
    }


def test_a_flat_fee_without_any_usage_leaves_nothing(ledger: TrueLedger, finance):
    ledger.map("acme")
    price = make_price("price_tokens", "tokens", **KINDS["flat"])
    _read(ledger, GivenInvoices([make_invoice(make_line(price, "0", 999))], [price]), FINALIZED_MS + HOUR_MS)
    (row,) = finance.execute("select usage_quantity, usage_minor, invoiced_minor, closing_minor from finance.roll_forward")
    assert tuple(row.values()) == (0, 999, 999, 0)


def _book(ledger: TrueLedger, first_offset: int, *used: tuple[int, str | None], now_ms: int) -> None:
    """Usage of September that is recorded and acknowledged at a date."""
    ledger.set_now(now_ms)
    records = [
        make_forwarded(offset, make_event(f"e{offset}", event_time_ms=NOON_MS, quantity=quantity, reason=reason), arrival_ms=NOON_MS)
        for offset, (quantity, reason) in enumerate(used, first_offset)
    ]
    ledger.capture(make_announced(first_offset=first_offset, on_time=records, progress_offset=first_offset))
    ledger.cut(now_ms + HOUR_MS)
    ledger.send(ACK, now_ms + HOUR_MS)


def _lines(price: PriceReading, quantity: int) -> list[LineReading]:
    """What Stripe shows for a quantity: a line for each tier it reaches."""
    parsed = parse_price(price.body, "usd")
    return [
        make_line(price, str(line.quantity), line.amount_minor, line_id=f"il_{line.tier}")
        for line in amount_of(parsed, Decimal(quantity)).lines
    ]


def test_the_roll_forward_leads_from_month_to_month(ledger: TrueLedger, finance):
    """September: 152 used, 3 taken back. October: 100 invoiced at half a cent; 9 missed and 40 in review stay open."""
    told_story(ledger)
    _read(ledger, GivenInvoices([make_invoice(make_line(TOKENS, "100", 50))], [TOKENS]), FINALIZED_MS + HOUR_MS)
    rows = finance.execute("select * from finance.roll_forward where meter = 'tokens' and currency = 'usd' order by month").fetchall()
    units = ("opening_quantity", "usage_quantity", "corrections_quantity", "invoiced_quantity", "closing_quantity")
    money = ("opening_minor", "usage_minor", "corrections_minor", "invoiced_minor", "closing_minor")
    assert [(row["month"], *(row[name] for name in units)) for row in rows] == [
        (date(2026, 9, 1), 0, 152, -3, 0, 149),
        (date(2026, 10, 1), 149, 0, 0, 100, 49),
    ]
    assert [tuple(row[name] for name in money) for row in rows] == [(0, 76, -1, 0, 75), (75, 0, 0, 50, 25)]
    for row in rows:
        assert row["closing_quantity"] == row["opening_quantity"] + row["usage_quantity"] + row["corrections_quantity"] - (
            row["invoiced_quantity"] + row["charged_by_item_quantity"] + row["waived_quantity"] + row["written_off_quantity"]
        )
    # Globex is mapped to nobody: its usage rolls forward without a currency.
    (nobody,) = finance.execute(
        "select closing_quantity, closing_minor from finance.roll_forward where currency is null and meter = 'tokens'"
    )
    assert (nobody["closing_quantity"], nobody["closing_minor"]) == (9, None)
