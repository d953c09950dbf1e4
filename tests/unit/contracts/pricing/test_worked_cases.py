"""Amounts worked by hand, each with the page of Stripe's documentation that it comes from."""

from decimal import Decimal
from typing import Any

import pytest

from trueup.contracts.pricing import Price, PriceError, amount_of, amount_of_smallest, decimals_of, marginal_amount, parse_price

PRICING_MODELS = "Recurring pricing models (products-prices/pricing-models)"
TIERED = "Set up tiered pricing (subscriptions/pricing-models/tiered-pricing)"
ROUNDING = "Manage prices, Rounding (products-prices/manage-prices); formerly Decimal amounts"
TRANSFORM = "Transform quantities (billing/subscriptions/usage-based/transform-quantities)"
QUANTITIES = "Setting subscription quantities, Quantity transformation (billing/subscriptions/quantities)"
CURRENCIES = "Supported currencies (currencies), zero-decimal and three-decimal"
LINE_ITEM = "The invoice line item object (api/invoice-line-item/object): quantity_decimal is not negative"
HAND = "worked from the rules of the pages above"


def price(**changes: Any) -> Price:
    """Make a price as Stripe would show it."""
    shown: dict[str, Any] = {
        "id": "price_1",
        "currency": "usd",
        "billing_scheme": "per_unit",
        "tiers_mode": None,
        "transform_quantity": None,
    }
    return parse_price({**shown, "recurring": {"meter": "mtr_1", "usage_type": "metered"}, **changes})


def tiers(mode: str, *rows: tuple[int | None, str | None, str | None]) -> Price:
    """Make a price of tiers given as (up_to, unit amount, flat amount)."""
    listed = [{"up_to": up_to, "unit_amount_decimal": unit, "flat_amount_decimal": flat} for up_to, unit, flat in rows]
    return price(billing_scheme="tiered", tiers_mode=mode, tiers=listed)


def package(divide_by: int, way: str, unit_amount: str) -> Price:
    """Make a price per package."""
    return price(unit_amount_decimal=unit_amount, transform_quantity={"divide_by": divide_by, "round": way})


FONTS = ((5, "700", None), (10, "650", None), (None, "600", None))
MINUTES = ((5, "500", None), (10, "400", None), (None, "100", None))
FLAT = ((5, "500", "1000"), (10, "400", "2000"), (15, "300", "3000"), (20, "200", "4000"), (None, "100", "5000"))

CASES = [
    # Volume: the whole quantity at the price of the tier it reaches.
    (TIERED, tiers("volume", *FONTS), "1", 700),
    (TIERED, tiers("volume", *FONTS), "5", 3500),
    (TIERED, tiers("volume", *FONTS), "6", 3900),
    (TIERED, tiers("volume", *FONTS), "20", 12000),
    (TIERED, tiers("volume", *FONTS), "25", 15000),
    (PRICING_MODELS, tiers("volume", *FLAT), "12", 6600),
    (PRICING_MODELS, tiers("volume", *FLAT), "0", 1000),
    (HAND, tiers("volume", *FONTS), "5.000000000001", 3250),  # just past the bound: all of it at 650
    # Graduated: each part at the price of its own tier.
    (TIERED, tiers("graduated", *FONTS), "5", 3500),
    (TIERED, tiers("graduated", *FONTS), "6", 4150),
    (PRICING_MODELS, tiers("graduated", *MINUTES), "1", 500),
    (PRICING_MODELS, tiers("graduated", *MINUTES), "5", 2500),
    (PRICING_MODELS, tiers("graduated", *MINUTES), "6", 2900),
    (PRICING_MODELS, tiers("graduated", *MINUTES), "20", 5500),
    (PRICING_MODELS, tiers("graduated", *MINUTES), "25", 6000),
    (PRICING_MODELS, tiers("graduated", *FLAT), "12", 11100),
    (PRICING_MODELS, tiers("graduated", *FLAT), "0", 1000),
    (HAND, tiers("graduated", *FLAT), "5", 3500),  # exactly at the bound: the second tier is not entered
    (HAND, tiers("graduated", (5, "0.5", None), (None, "0.5", None)), "10", 6),  # 2.5 and 2.5 are two lines: 3 + 3
    (HAND, tiers("graduated", (1, "500", None), (None, None, "100")), "0", 0),  # only the first tier is billed for nothing
    # Packages: the quotient is rounded before it is priced.
    (TRANSFORM, package(60, "up", "1000"), "150", 3000),
    (QUANTITIES, package(5, "up", "1000"), "1", 1000),
    (QUANTITIES, package(5, "up", "1000"), "3", 1000),
    (QUANTITIES, package(5, "up", "1000"), "5", 1000),
    (QUANTITIES, package(5, "up", "1000"), "6", 2000),
    (QUANTITIES, package(5, "up", "1000"), "7", 2000),
    (HAND, package(5, "down", "1000"), "9.999999999999", 1000),
    (HAND, package(5, "up", "1000"), "10.000000000001", 3000),
    (HAND, package(1000, "up", "0.5"), "2001", 2),  # three packages at half a cent: 1.5
    # Per unit, with decimals of a cent.
    (ROUNDING, price(unit_amount_decimal="0.05"), "30", 2),
    (HAND, price(unit_amount_decimal="0.05"), "29", 1),  # 1.45
    (HAND, price(unit_amount_decimal="0.000000000001"), "499999999999", 0),  # 0.499999999999: a float would make it a half
    (HAND, price(unit_amount_decimal="0.000000000001"), "500000000000", 1),
    (HAND, price(unit_amount_decimal="0.1"), "999999999999999.999999999999", 100_000_000_000_000),
    (HAND, price(unit_amount=7), "3", 21),
    (LINE_ITEM, price(unit_amount=7), "-3", 0),
    (LINE_ITEM, tiers("graduated", *FLAT), "-3", 1000),
    # The minor unit is the currency's own: one yen, one thousandth of a dinar.
    (CURRENCIES, price(currency="jpy", unit_amount_decimal="1.5"), "3", 5),
    (CURRENCIES, price(currency="jpy", unit_amount=10), "0.25", 3),
    (CURRENCIES, price(currency="kwd", unit_amount_decimal="0.3"), "5", 2),
    (CURRENCIES, price(currency="kwd", unit_amount=1250), "3", 3750),
]


@pytest.mark.parametrize(("source", "priced", "quantity", "amount_minor"), CASES)
def test_amounts_are_those_of_the_page(source: str, priced: Price, quantity: str, amount_minor: int) -> None:
    found = amount_of(priced, Decimal(quantity))
    assert found.amount_minor == amount_minor, source
    assert sum(line.amount_minor for line in found.lines) == amount_minor


def test_graduated_lines_name_their_tiers() -> None:
    lines = amount_of(tiers("graduated", *FLAT), Decimal(12)).lines
    assert [(line.tier, str(line.quantity), line.amount_minor) for line in lines] == [(1, "5", 3500), (2, "5", 4000), (3, "2", 3600)]


def test_a_quantity_of_the_ledger_is_scaled_exactly() -> None:
    assert amount_of_smallest(price(unit_amount_decimal="0.05"), 30_000, 3).amount_minor == 2
    assert amount_of_smallest(price(unit_amount_decimal="0.05"), 29_999, 3).amount_minor == 1
    assert amount_of_smallest(price(unit_amount=1), -5, 0).amount_minor == 0


def test_marginal_amounts_know_tier_package_and_rounding() -> None:
    assert marginal_amount(tiers("graduated", *MINUTES), Decimal(4), Decimal(2)) == 500 + 400
    assert marginal_amount(tiers("volume", *FONTS), Decimal(5), Decimal(1)) == 3900 - 3500
    assert marginal_amount(package(60, "up", "1000"), Decimal(61), Decimal(59)) == 0
    assert marginal_amount(price(unit_amount_decimal="0.5"), Decimal(1), Decimal(1)) == 0


def test_decimals_of_currencies() -> None:
    assert [decimals_of(name) for name in ("JPY", "usd", "kwd", "isk", "ugx")] == [0, 2, 3, 2, 2]


def test_another_currency_is_looked_up() -> None:
    shown = {"id": "price_1", "currency": "usd", "unit_amount": 100, "currency_options": {"jpy": {"unit_amount": 15}}}
    assert amount_of(parse_price(shown, "jpy"), Decimal(2)).amount_minor == 30
    with pytest.raises(PriceError, match="no amounts in eur"):
        parse_price(shown, "eur")


@pytest.mark.parametrize(
    "changes",
    [
        {"billing_scheme": "tiered", "tiers_mode": "graduated"},
        {"billing_scheme": "tiered", "tiers_mode": "staircase", "tiers": [{"up_to": None, "unit_amount": 1}]},
        {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [{"up_to": 5, "unit_amount": 1}]},
        {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [{"up_to": None}]},
        {
            "billing_scheme": "tiered",
            "tiers_mode": "volume",
            "tiers": [{"up_to": 5, "unit_amount": 1}, {"up_to": 5, "unit_amount": 1}, {"up_to": None, "unit_amount": 1}],
        },
        {"unit_amount": None},
        {"unit_amount": 0.05},
        {"unit_amount_decimal": "NaN"},
        {"unit_amount": 1, "transform_quantity": {"divide_by": 0, "round": "up"}},
        {"unit_amount": 1, "transform_quantity": {"divide_by": 2, "round": "sideways"}},
    ],
)
def test_a_price_that_is_not_understood_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PriceError):
        price(**changes)
