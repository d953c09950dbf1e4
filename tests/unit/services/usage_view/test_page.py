"""The page in words and figures: every currency with its own decimals, and nothing of a customer's name as markup."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from services.usage_view.app.page_text import page_text
from services.usage_view.app.reading import Reading
from services.usage_view.core.bill import Bill, BillLine, MeterUsage
from services.usage_view.core.billing_period import BillingPeriod

NOVEMBER_MS, DECEMBER_MS = 1_793_491_200_000, 1_796_083_200_000
LINE = BillLine(
    "input_tokens", "token", 0, "price_1", "usd", None, Decimal(26451), Decimal("0.01"), Decimal(0), None, 265, NOVEMBER_MS, DECEMBER_MS
)
METER = MeterUsage("input_tokens", "token", 0, 26451, 0, 1_000, -15)
BILL = Bill("acme", NOVEMBER_MS, DECEMBER_MS, "usd", (METER,), (LINE,), 265, (), ())


def text_of(bill: Bill, now_ms: int = NOVEMBER_MS + 1_000):
    """What the page says of a bill."""
    return page_text(Reading(bill, (BillingPeriod(NOVEMBER_MS, DECEMBER_MS),), (), NOVEMBER_MS + 1_000, now_ms), str)


MONEY = [
    # currency, unit price, amount in minor units, as people write them
    ("usd", "0.01", 265, "$0.0001", "$2.65"),
    ("usd", "150", 123_456_789, "$1.50", "$1,234,567.89"),
    ("jpy", "0.5", 265, "¥0.5", "¥265"),
    ("kwd", "1", 1_234, "KWD\xa00.001", "KWD\xa01.234"),
    ("isk", "100", 150, "ISK\xa01.00", "ISK\xa01.50"),
    ("eur", "-0.000000000001", -1, "-€0.00000000000001", "-€0.01"),
]


@pytest.mark.parametrize(("currency", "unit_amount", "amount", "price", "money"), MONEY)
def test_money_is_written_in_its_own_decimals(currency: str, unit_amount: str, amount: int, price: str, money: str) -> None:
    line = replace(LINE, currency=currency, unit_amount_decimal=Decimal(unit_amount), amount_minor=amount)
    told = text_of(replace(BILL, currency=currency, lines=(line,), total_minor=amount))
    assert (told.lines[0].price, told.lines[0].amount, told.total) == (price, money, money)


def test_what_a_line_says_of_itself() -> None:
    """Tier, package, flat fee and a period of its own are said; figures are grouped and keep their places."""
    line = replace(LINE, tier=2, quantity=Decimal("1234567.5"), scale=2, package_units=1_000, flat_amount_decimal=Decimal(1_000))
    told = text_of(replace(BILL, lines=(replace(line, start_ms=NOVEMBER_MS + 86_400_000),))).lines[0]
    assert told.meter == "input tokens"
    assert told.says == "tier 2, 2 Nov 2026, 00:00:00 to 1 Dec 2026, 00:00:00"
    assert (told.quantity, told.price, told.price_says) == ("1,234,567.50", "$0.0001", "for each 1000, and $10.00 once")


def test_what_is_not_known_is_not_made_up() -> None:
    """A price that is not understood leaves a dash and a sentence, not a zero."""
    line = replace(LINE, unit_amount_decimal=None, amount_minor=None)
    told = text_of(replace(BILL, lines=(line,), total_minor=None))
    assert (told.total, told.lines[0].price, told.lines[0].amount) == ("—", "—", "—")
    assert "could not be worked out" in told.total_says
    assert "may be missing" in page_text(Reading(BILL, (), (), None, NOVEMBER_MS), str).fresh


def test_lines_in_several_currencies_each_say_theirs() -> None:
    """There is no sum, and that is why."""
    told = text_of(replace(BILL, currency=None, lines=(LINE, replace(LINE, currency="jpy")), total_minor=None))
    assert [line.amount for line in told.lines] == ["$2.65", "¥265"]
    assert (told.total, told.total_says) == ("—", "The lines are in several currencies, so there is no one total.")


def test_how_final_a_total_is() -> None:
    """Of a running period it is what is owed so far; of an ended one it waits for its invoice; of a final one it is that invoice's."""
    assert text_of(BILL).total_says.startswith("So far")
    assert "has ended" in text_of(BILL, DECEMBER_MS).total_says
    assert text_of(replace(BILL, invoices=("in_1",)), DECEMBER_MS).total_says.startswith("As on the final invoice")
