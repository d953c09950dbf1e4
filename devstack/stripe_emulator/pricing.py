"""What a quantity costs, written from Stripe's documentation with exact fractions.

Sources: docs.stripe.com/billing/subscriptions/decimal-amounts ("Rounding occurs on the line item level"; 1.5 cents become 2),
/products-prices/pricing-models (tiers), and the SDK's texts on ``transform_quantity`` and ``tiers``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from devstack.stripe_emulator.books import EXACT

_HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Charge:
    """One line's worth: so much of something at so much each, in minor units of the currency."""

    quantity: Decimal
    unit_amount_decimal: str | None
    amount: int
    words: str = ""


def charges(price: dict[str, Any], quantity: Decimal, *, flat_at_zero: bool = True) -> list[Charge]:
    """Give the lines of one item's quantity; only graduated prices make more than one."""
    if price["billing_scheme"] == "tiered":
        tiers = price["tiers"]
        if price["tiers_mode"] == "volume":
            return [_volume(tiers, quantity, flat_at_zero)]
        return list(_graduated(tiers, quantity, flat_at_zero))
    unit = price["unit_amount_decimal"]
    return [Charge(quantity, unit, rounded(transformed(price, quantity) * Fraction(unit)))]


def rounded(amount: Fraction) -> int:
    """Round to the nearest minor unit, halves up: the one place where money is rounded."""
    return math.floor(amount + _HALF)


def transformed(price: dict[str, Any], quantity: Decimal) -> Fraction:
    """Divide a quantity into packages, where the price says so."""
    transform = price["transform_quantity"]
    if transform is None:
        return Fraction(quantity)
    packages = Fraction(quantity) / transform["divide_by"]
    return Fraction(math.ceil(packages) if transform["round"] == "up" else math.floor(packages))


def _volume(tiers: list[dict[str, Any]], quantity: Decimal, flat_at_zero: bool) -> Charge:
    """Price every unit at the tier that the whole quantity reaches; a tier holds its upper bound."""
    number, tier = next((number, tier) for number, tier in enumerate(tiers, 1) if tier["up_to"] is None or quantity <= tier["up_to"])
    return _tier_charge(number, tier, quantity, flat=quantity > 0 or flat_at_zero)


def _graduated(tiers: list[dict[str, Any]], quantity: Decimal, flat_at_zero: bool) -> Iterator[Charge]:
    """Price each unit at its own tier, one line for each tier reached; the first is always reached."""
    below = Decimal(0)
    for number, tier in enumerate(tiers, 1):
        bound = None if tier["up_to"] is None else Decimal(tier["up_to"])
        inside = EXACT.subtract(quantity if bound is None else min(quantity, bound), below)
        yield _tier_charge(number, tier, inside, flat=quantity > 0 or flat_at_zero)
        if bound is None or quantity <= bound:
            return
        below = bound


def _tier_charge(number: int, tier: dict[str, Any], quantity: Decimal, *, flat: bool) -> Charge:
    unit, whole = tier["unit_amount_decimal"], tier["flat_amount_decimal"]
    amount = Fraction(quantity) * Fraction(unit or 0) + (Fraction(whole or 0) if flat else 0)
    return Charge(quantity, unit or "0", rounded(amount), f" (Tier {number})")
