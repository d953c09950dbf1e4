"""From what stands in the accounts to lines and a total, as tables that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.usage_view.app.shown import bill_in_json
from services.usage_view.core.bill import make_bill
from services.usage_view.core.billing_period import BillingPeriod
from trueup.ledger.accounts import Account
from trueup.ledger.customer_usage import Facts, FinalLine, Held, ItemPeriod, MeterUnit

DAY_MS = 86_400_000
UNITS = {"tokens": MeterUnit("token", 0), "seconds": MeterUnit("second", 2), "runs": MeterUnit("run", 0)}
PER_UNIT = {"billing_scheme": "per_unit", "unit_amount_decimal": "0.5"}
GRADUATED = {
    "billing_scheme": "tiered",
    "tiers_mode": "graduated",
    "tiers": [
        {"up_to": 100, "unit_amount_decimal": "2", "flat_amount_decimal": "10"},
        {"up_to": None, "unit_amount_decimal": "0.25", "flat_amount_decimal": None},
    ],
}
VOLUME = GRADUATED | {"tiers_mode": "volume"}
PACKAGE = {"billing_scheme": "per_unit", "unit_amount_decimal": "30", "transform_quantity": {"divide_by": 1_000, "round": "up"}}


def item(meter: str = "tokens", name: str = "", start: int = 0, end: int = 30, item_id: str = "si_1", currency: str = "usd") -> ItemPeriod:
    """A period of an item, its days counted from the period's start."""
    return ItemPeriod(item_id, "sub_1", "cus_acme", name or meter, meter, f"price_{item_id}", currency, start * DAY_MS, end * DAY_MS)


def sent(account: Account, quantity: int, meter: str = "tokens", name: str = "", stretch: int = 1) -> Held:
    """What was sent under a Stripe meter."""
    return Held(meter, "cus_acme", name or meter, account, stretch, quantity)


def unsent(quantity: int, meter: str = "tokens", name: str | None = None, stretch: int = 1, account: Account = Account.UNSENT) -> Held:
    """What was not."""
    return Held(meter, None, name, account, stretch, quantity)


def bill(items: tuple[ItemPeriod, ...], held: tuple[Held, ...], price: Mapping[str, Any] | None = PER_UNIT, **more: Any) -> dict[str, Any]:
    """The JSON of a period of thirty days."""
    prices = {one.price_id: {"id": one.price_id, "currency": one.currency} | price for one in items} if price is not None else {}
    facts = Facts(held, more.get("corrections", {}), UNITS, prices, tuple(more.get("final", ())))
    return bill_in_json(make_bill("acme", BillingPeriod(0, 30 * DAY_MS, items), facts), None)


def lines(told: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Tier, quantity, price and amount of each line."""
    return [(line["tier"], line["quantity"], line["unit_amount_decimal"], line["amount_minor"]) for line in told["lines"]]


def meters(told: dict[str, Any]) -> dict[str, tuple[str, str, str, str]]:
    """The four quantities of each meter."""
    return {one["meter"]: (one["quantity"], one["in_flight"], one["under_review"], one["corrections"]) for one in told["meters"]}


PRICED = [
    # What a price makes of a quantity: each line's tier, quantity, price and amount, and their total.
    (PER_UNIT, 109, [(None, "109", "0.5", 55)], 55),
    (PER_UNIT, 0, [(None, "0", "0.5", 0)], 0),
    (PER_UNIT, -7, [(None, "0", "0.5", 0)], 0),
    (GRADUATED, 50, [(1, "50", "2", 110)], 110),
    (GRADUATED, 103, [(1, "100", "2", 210), (2, "3", "0.25", 1)], 211),
    (GRADUATED, 0, [(1, "0", "2", 10)], 10),
    (VOLUME, 103, [(2, "103", "0.25", 26)], 26),
    (PACKAGE, 2_001, [(None, "2001", "30", 90)], 90),
    (None, 109, [(None, "109", None, None)], None),
    ({"billing_scheme": "tiered", "tiers_mode": "graduated"}, 109, [(None, "109", None, None)], None),
]


@pytest.mark.parametrize(("price", "quantity", "expected", "total"), PRICED)
def test_a_quantity_becomes_lines_and_a_total(price: Any, quantity: int, expected: list[Any], total: int | None) -> None:
    """Each tier is a line, each line is rounded once, and a price that is not understood makes the total unknown."""
    told = bill((item(),), (sent(Account.ACKNOWLEDGED, quantity),), price)
    assert (lines(told), told["total_minor"]) == (expected, total)


def test_what_each_account_counts_as() -> None:
    """What will be billed, what of it is not confirmed, and what waits for a person; what was decided is in neither."""
    held = (
        unsent(1),
        sent(Account.IN_FLIGHT, 20),
        sent(Account.ACKNOWLEDGED, 300),
        sent(Account.REJECTED, 4_000),
        unsent(50_000, account=Account.IN_REVIEW),
        *(unsent(1_000_000, account=account) for account in (Account.WAIVED, Account.WRITTEN_OFF, Account.SHADOW, Account.CHARGED_BY_ITEM)),
    )
    told = bill((item(),), held, corrections={"tokens": -9})
    assert meters(told) == {"tokens": ("321", "21", "54000", "-9")}
    assert lines(told) == [(None, "321", "0.5", 161)]


def final(quantity: str, amount: int, tier: int | None = None, start: int = 0) -> FinalLine:
    """A line of a final invoice."""
    return FinalLine(
        "in_1", "A-1", "si_1", "price_si_1", "usd", start * DAY_MS, 30 * DAY_MS, Decimal(quantity), Decimal("0.5"), tier, amount
    )


def test_a_final_invoice_takes_up_what_it_billed_and_nothing_else() -> None:
    """What stands elsewhere when the invoice is final is on no bill any more; the lines are the invoice's."""
    held = (sent(Account.INVOICED, 100), sent(Account.MISSED_INVOICE, 9), sent(Account.ACKNOWLEDGED, 1), unsent(2))
    told = bill((item(),), held, final=[final("100", 50)])
    assert meters(told) == {"tokens": ("100", "0", "12", "0")}
    assert (lines(told), told["total_minor"]) == ([(None, "100", "0.5", 50)], 50)
    assert (told["invoices"], told["invoices_disagreeing"]) == (["in_1"], [])


@pytest.mark.parametrize(("quantity", "amount"), [("101", 51), ("100", 49)])
def test_an_invoice_that_bills_something_else_is_shown_and_named(quantity: str, amount: int) -> None:
    """A customer sees what Stripe charges, and we see that it is not what we worked out."""
    told = bill((item(),), (sent(Account.INVOICED, 100),), final=[final(quantity, amount)])
    assert (lines(told), told["total_minor"]) == ([(None, quantity, "0.5", amount)], amount)
    assert told["invoices_disagreeing"] == ["in_1"]


def test_a_line_may_begin_later_than_its_item() -> None:
    """After a swap Stripe's line begins at the swap."""
    told = bill((item(),), (sent(Account.INVOICED, 100),), final=[final("100", 50, start=12)])
    assert (told["invoices"], told["invoices_disagreeing"]) == (["in_1"], [])


SWAPPED = [
    # The final lines of an item whose price was changed, as price, quantity, start and amount; what is invoiced; whether we agree.
    ([("price_old", "1000", 0, 50), ("price_si_1", "100", 0, 300)], 1_100, True),  # flexible: both prices
    ([("price_si_1", "100", 12, 300)], 100, True),  # classic: from the swap only
    ([("price_old", "1000", 0, 50), ("price_si_1", "100", 0, 300)], 1_101, False),
    ([("price_old", "1000", 0, 51), ("price_si_1", "100", 0, 300)], 1_100, False),
]


@pytest.mark.parametrize(("billed", "invoiced", "agrees"), SWAPPED)
def test_a_price_that_was_changed_keeps_its_lines_on_the_final_bill(billed: list[Any], invoiced: int, agrees: bool) -> None:
    """Every line of the invoice is shown at its own price, and judged by it."""
    price = {"billing_scheme": "per_unit", "currency": "usd"}
    prices = {name: price | {"id": name, "unit_amount_decimal": each} for name, each in (("price_old", "0.05"), ("price_si_1", "3"))}
    final_lines = tuple(replace(final(quantity, amount, start=start), price_id=name) for name, quantity, start, amount in billed)
    facts = Facts((sent(Account.INVOICED, invoiced),), {}, UNITS, prices, final_lines)
    told = bill_in_json(make_bill("acme", BillingPeriod(0, 30 * DAY_MS, (replace(item(), repriced=True),)), facts), None)
    shown = [(line["price_id"], line["quantity"], line["amount_minor"]) for line in told["lines"]]
    assert shown == [(name, quantity, amount) for name, quantity, _, amount in billed]
    assert told["total_minor"] == sum(amount for _, _, _, amount in billed)
    assert told["invoices_disagreeing"] == ([] if agrees else ["in_1"])


def test_a_price_that_was_changed_has_no_total_before_the_invoice() -> None:
    """Which share is billed at which price only Stripe says: all of it at the newest price would be a wrong promise."""
    told = bill((replace(item(), repriced=True),), (sent(Account.ACKNOWLEDGED, 1_100),))
    assert (lines(told), told["total_minor"]) == ([(None, "1100", None, None)], None)


def test_decimals_are_those_of_the_meter() -> None:
    """A quantity is written in the meter's unit with all its places."""
    told = bill((item("seconds"),), (sent(Account.ACKNOWLEDGED, 150, "seconds"),), PER_UNIT | {"unit_amount_decimal": "10"})
    assert meters(told) == {"seconds": ("1.50", "0.00", "0.00", "0.00")}
    assert lines(told) == [(None, "1.50", "10", 15)]


def test_a_plan_that_changed_half_way() -> None:
    """A meter that is counted per plan has two items; each bills what was used while it ran, also what is not sent yet."""
    basic, pro = item("runs", "runs_basic", 0, 10), item("runs", "runs_pro", 10, 30, "si_2")
    held = (
        sent(Account.ACKNOWLEDGED, 3, "runs", "runs_basic", stretch=1),
        unsent(1, "runs", stretch=1),
        sent(Account.ACKNOWLEDGED, 40, "runs", "runs_pro", stretch=2),
        unsent(10, "runs", "runs_pro", stretch=2),
    )
    told = bill((basic, pro), held)
    assert lines(told) == [(None, "4", "0.5", 2), (None, "50", "0.5", 25)]
    assert meters(told) == {"runs": ("54", "11", "0", "0")}


def test_two_items_for_one_meter_bill_it_twice() -> None:
    """As Stripe does: both lines have all of it, and the meter counted it once."""
    told = bill((item(), item(item_id="si_2")), (sent(Account.ACKNOWLEDGED, 10), unsent(4)))
    assert lines(told) == [(None, "14", "0.5", 7)] * 2
    assert (meters(told), told["total_minor"]) == ({"tokens": ("14", "4", "0", "0")}, 14)


def test_usage_without_a_price_is_counted_and_costs_nothing() -> None:
    """No subscription, no lines, no currency: nothing is billed, and nothing is hidden."""
    told = bill((), (unsent(7), unsent(3, account=Account.IN_REVIEW)))
    assert (told["lines"], told["total_minor"], told["currency"]) == ([], 0, None)
    assert meters(told) == {"tokens": ("7", "7", "3", "0")}


def test_two_currencies_have_no_sum() -> None:
    """Adding them up would mean nothing."""
    told = bill((item(), item(item_id="si_2", currency="jpy")), (sent(Account.ACKNOWLEDGED, 10),))
    assert (told["currency"], told["total_minor"]) == (None, None)
    assert sorted(line["currency"] for line in told["lines"]) == ["jpy", "usd"]


def test_an_item_bills_what_was_used_while_it_ran() -> None:
    """Cancelled and subscribed again: the same Stripe meter, two items, each with its own days."""
    first, second = item(start=0, end=10), item(start=10, end=30, item_id="si_2")
    held = (sent(Account.ACKNOWLEDGED, 3, stretch=1), sent(Account.ACKNOWLEDGED, 40, stretch=2), unsent(5, stretch=2))
    assert lines(bill((first, second), held)) == [(None, "3", "0.5", 2), (None, "45", "0.5", 23)]
