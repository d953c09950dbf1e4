"""The emulator's arithmetic beside cases worked by hand and beside counting unit by unit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.stripe_emulator.pricing import charges, rounded


def per_unit(amount: str, **transform: Any) -> dict[str, Any]:
    """Make a price per unit, or per package."""
    return {"billing_scheme": "per_unit", "unit_amount_decimal": amount, "transform_quantity": transform or None}


def tiered(mode: str, *tiers: tuple[int | None, str | None, str | None]) -> dict[str, Any]:
    """Make a price by tiers of (up_to, amount per unit, flat amount)."""
    listed = [{"up_to": up_to, "unit_amount_decimal": unit, "flat_amount_decimal": flat} for up_to, unit, flat in tiers]
    return {"billing_scheme": "tiered", "tiers_mode": mode, "tiers": listed, "transform_quantity": None}


THREE = ((5, "700", None), (10, "650", None), (None, "600", None))
FLAT = ((1000, "0", "5000"), (None, "4", "100"))


@pytest.mark.parametrize(
    ("price", "quantity", "amounts"),
    [
        # docs.stripe.com/billing/subscriptions/decimal-amounts: 0.05 cents × 30 = 1.5, "rounded up to 2 cents".
        (per_unit("0.05"), "30", [2]),
        (per_unit("0.05"), "29", [1]),
        (per_unit("0.5"), "1", [1]),
        (per_unit("0.000000000001"), "1999999999999998", [2000]),
        (per_unit("3"), "0.7", [2]),
        (per_unit("7"), "0", [0]),
        # docs.stripe.com/products-prices/pricing-models: 5 at 7 USD and 1 at 6.50; volume: all 6 at 6.50.
        (tiered("graduated", *THREE), "5", [3500]),
        (tiered("graduated", *THREE), "6", [3500, 650]),
        (tiered("graduated", *THREE), "20", [3500, 3250, 6000]),
        (tiered("volume", *THREE), "5", [3500]),
        (tiered("volume", *THREE), "6", [3900]),
        (tiered("volume", *THREE), "20", [12000]),
        (tiered("graduated", *THREE), "5.5", [3500, 325]),
        (tiered("volume", *THREE), "5.5", [3575]),
        (tiered("graduated", *FLAT), "0", [5000]),
        (tiered("graduated", *FLAT), "1000", [5000]),
        (tiered("graduated", *FLAT), "1001", [5000, 104]),
        (tiered("volume", *FLAT), "1001", [4104]),
        (tiered("volume", *FLAT), "0", [5000]),
        (tiered("graduated", (1, "0.4", None), (None, "0.4", None)), "2", [0, 0]),
        # Packages of 10, each begun one or each full one: the SDK's text on transform_quantity.
        (per_unit("500", divide_by=10, round="up"), "1", [500]),
        (per_unit("500", divide_by=10, round="up"), "10", [500]),
        (per_unit("500", divide_by=10, round="up"), "11", [1000]),
        (per_unit("500", divide_by=10, round="up"), "10.000000000001", [1000]),
        (per_unit("500", divide_by=10, round="down"), "19", [500]),
        (per_unit("500", divide_by=10, round="down"), "9", [0]),
        (per_unit("0.5", divide_by=3, round="up"), "7", [2]),
        (per_unit("500", divide_by=10, round="up"), "0", [0]),
    ],
)
def test_cases_worked_by_hand(price: dict[str, Any], quantity: str, amounts: list[int]) -> None:
    """One amount for each line."""
    made = charges(price, Decimal(quantity))
    assert [charge.amount for charge in made] == amounts
    assert sum(charge.quantity for charge in made) == Decimal(quantity)


def test_no_flat_amount_for_nothing_if_the_switch_says_so() -> None:
    """Whether the first tier's flat amount is due without usage is settled by a switch."""
    for mode in ("graduated", "volume"):
        assert [charge.amount for charge in charges(tiered(mode, *FLAT), Decimal(0), flat_at_zero=False)] == [0]


_BOUNDS = st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True).map(sorted)
_AMOUNT = st.decimals(0, 50, places=3).map(str)


@given(bounds=_BOUNDS, units=st.lists(_AMOUNT, min_size=5, max_size=5), quantity=st.integers(0, 100))
def test_tiers_agree_with_counting_unit_by_unit(bounds: list[int], units: list[str], quantity: int) -> None:
    """Graduated: unit number n costs what its tier says. Volume: every unit costs what the last one's tier says."""
    tiers = [(bound, units[number], None) for number, bound in enumerate(bounds)] + [(None, units[len(bounds)], None)]

    def tier_of(unit: int) -> int:
        return next((number for number, bound in enumerate(bounds) if unit <= bound), len(bounds))

    lines: dict[int, Fraction] = {0: Fraction(0)}
    for unit in range(1, quantity + 1):
        lines[tier_of(unit)] = lines.get(tier_of(unit), Fraction(0)) + Fraction(units[tier_of(unit)])
    graduated = charges(tiered("graduated", *tiers), Decimal(quantity))
    assert [charge.amount for charge in graduated] == [rounded(amount) for amount in lines.values()]
    (volume,) = charges(tiered("volume", *tiers), Decimal(quantity))
    assert volume.amount == rounded(quantity * Fraction(units[tier_of(quantity)]))


@given(st.fractions(0, 1000))
def test_money_is_rounded_to_the_nearest_and_halves_up(amount: Fraction) -> None:
    """Never further than half a unit away, and at the half upwards."""
    distance = rounded(amount) - amount
    assert -Fraction(1, 2) < distance <= Fraction(1, 2)
