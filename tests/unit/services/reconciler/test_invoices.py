"""The division of what was acknowledged into billed and missed, and when invoices are read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.reconciler.core.invoices import PAUSE_MS, SETTLE_MS, divide, expected, invoices_due_ms, mirrored, to_smallest
from services.reconciler.core.mirror import with_mirror
from tests.makers.invoices_given import make_line, make_price
from trueup.contracts.pricing import parse_price
from trueup.ledger.invoices import CustomerInvoices, Holding

START = datetime(2026, 10, 1, tzinfo=UTC)
DAY_MS = 86_400_000
TIERS = {
    "id": "price_1",
    "currency": "usd",
    "billing_scheme": "tiered",
    "tiers_mode": "graduated",
    "tiers": [{"up_to": 100, "unit_amount": 2}, {"up_to": None, "unit_amount_decimal": "0.5"}],
}


def _holdings(*quantities: int) -> list[Holding]:
    """Intents acknowledged one minute after the other."""
    return [Holding(number, quantity, 3, START + timedelta(minutes=number)) for number, quantity in enumerate(quantities)]


def _half_cents(quantity: int) -> int:
    return (max(quantity, 0) + 1) // 2


def test_what_was_acknowledged_last_is_missed_first() -> None:
    parts = divide(15, 0, 0, _holdings(10, 4, 6), _half_cents)
    assert [(part.quantity_invoiced, part.events_invoiced, part.quantity_missed, part.events_missed) for part in parts] == [
        (10, 3, 0, 0),
        (4, 3, 0, 0),
        (1, 3, 5, 0),
    ]
    assert [part.amount_missed_minor for part in parts] == [0, 0, _half_cents(20) - _half_cents(15)]


def test_what_stripe_refused_afterwards_is_missed_before_anything_else() -> None:
    """What was billed is not the usage of which Stripe said itself that it would not count it."""
    refused, good = _holdings(80, 10)
    parts = divide(10, 0, 0, [replace(refused, refused=True), good], _half_cents)
    assert [(part.quantity_invoiced, part.quantity_missed) for part in parts] == [(10, 0), (0, 80)]
    assert [part.intent_id for part in parts] == [good.intent_id, refused.intent_id]


def test_a_negative_intent_stays_billed_while_the_total_is_positive() -> None:
    parts = divide(5, 0, 0, _holdings(10, -3), _half_cents)
    assert [(part.quantity_invoiced, part.quantity_missed) for part in parts] == [(8, 2), (-3, 0)]


@given(some.lists(some.integers(-50, 50), max_size=8), some.integers(0, 200), some.integers(0, 50), some.integers(0, 50))
def test_nothing_is_lost_and_nothing_is_billed_twice(quantities: list[int], billed: int, before: int, missed: int) -> None:
    parts = divide(billed, before, missed, _holdings(*quantities), _half_cents)
    total = sum(quantities)
    assert [part.quantity_invoiced + part.quantity_missed for part in parts] == quantities
    assert all(part.events_invoiced + part.events_missed == 3 for part in parts)
    # No part changes its sign: an intent gives no more than it has.
    assert all(part.quantity_missed * quantity >= 0 for part, quantity in zip(parts, quantities, strict=True))
    assert all(abs(part.quantity_missed) <= abs(quantity) for part, quantity in zip(parts, quantities, strict=True))
    invoiced, missing = sum(part.quantity_invoiced for part in parts), sum(part.quantity_missed for part in parts)
    assert invoiced == (min(max(billed - before, 0), total) if total > 0 else 0)
    base = billed + missed
    assert sum(part.amount_missed_minor or 0 for part in parts) == _half_cents(base + missing) - _half_cents(base)


def test_without_a_price_the_amount_is_not_known() -> None:
    assert [part.amount_missed_minor for part in divide(0, 0, 0, _holdings(1), lambda _quantity: None)] == [None]


def test_lines_that_are_divided_otherwise_are_compared_as_a_whole() -> None:
    price = parse_price(TIERS)
    assert mirrored(price, [Decimal(100), Decimal(9)]) == [(1, 200), (2, 5)]
    assert mirrored(price, [Decimal(109)]) == [(None, 205)]
    assert mirrored(price, [Decimal(100), Decimal(4), Decimal(5)]) == [(None, 205), (None, 0), (None, 0)]
    assert expected(price, Decimal(99), 2) == [(Decimal(99), 198), (Decimal(0), 0)]
    assert expected(None, Decimal(99), 1) == [(Decimal(99), None)]


def test_a_line_of_something_else_is_left_alone() -> None:
    licence = make_price("price_seat", "seats", unit_amount=100, recurring={"usage_type": "licensed"})
    other = type(licence)("price_seat", "usd", None, None, licence.body)
    (line,) = with_mirror([make_line(licence, "3", 300)], {"price_seat": other})
    assert (line.stripe_event_name, line.amount_mirror_minor, line.why_not_mirrored) == (None, None, None)


def test_a_price_that_nobody_shows_is_no_reason_to_look_away() -> None:
    (line,) = with_mirror([make_line(make_price("price_gone", "tokens"), "3", 300)], {})
    assert (line.stripe_event_name, line.amount_mirror_minor, line.why_not_mirrored) == (
        *("unknown:price_gone", None),
        "Stripe does not show the price",
    )


def test_what_is_finer_than_the_meter_is_not_ours() -> None:
    assert to_smallest(Decimal("1.239"), 2) == 123
    assert to_smallest(Decimal("999999999999999.999999999999"), 0) == 999999999999999


def _customer(
    read: int | None = 0, *, finalizes: int | None = None, ends: int | None = None, hinted: int | None = None
) -> CustomerInvoices:
    return CustomerInvoices("acme", "cus_acme", read, finalizes, ends, hinted)


@pytest.mark.parametrize(
    ("customer", "due_ms"),
    [
        (_customer(None), 0),
        (_customer(5), 5 + DAY_MS),
        (_customer(5, finalizes=1_000), 1_000 + SETTLE_MS),
        (_customer(5, ends=2_000, finalizes=3_000), 2_000 + SETTLE_MS),
        (_customer(5_000, finalizes=1_000), 5_000 + PAUSE_MS),
        (_customer(5, hinted=77), 77),
    ],
)
def test_invoices_are_read_when_there_is_a_reason(customer: CustomerInvoices, due_ms: int) -> None:
    assert invoices_due_ms(customer, DAY_MS) == due_ms
