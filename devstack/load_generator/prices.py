"""What the month's products cost: as Stripe is told, and reckoned a second time, apart from whatever will be judged by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

# Of every kind one: per unit, with decimals of a cent and without, by tiers in both ways, and by packages.
PRICES: Mapping[str, Mapping[str, Any]] = {
    "price_input_tokens": {"unit_amount_decimal": "0.01"},
    "price_output_tokens": {
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": [{"up_to": 100_000, "unit_amount_decimal": "0.04"}, {"up_to": "inf", "unit_amount_decimal": "0.025"}],
    },
    "price_audio_seconds": {"unit_amount_decimal": "0.35"},
    "price_searches": {"unit_amount": 2},
    "price_basic_runs": {"unit_amount": 7, "transform_quantity": {"divide_by": 10, "round": "up"}},
    "price_pro_runs": {
        "billing_scheme": "tiered",
        "tiers_mode": "volume",
        "tiers": [{"up_to": 500, "unit_amount": 3}, {"up_to": "inf", "unit_amount": 2}],
    },
}
MILLISECONDS_PER_SECOND = 1_000


PRICED_BY_PLAN = frozenset({"runs"})


def owed_minor(meter: str, plan: str, quantity: int) -> int:
    """What a month's quantity, in the meter's smallest unit, costs in cents: each line rounded once, half a cent upwards.

    Nothing is owed below zero; a meter without a price is not billed.
    """
    used = max(quantity, 0)
    match meter:
        case "input_tokens":
            return _rounded([Fraction(used, 100)])
        case "output_tokens":
            first = min(used, 100_000)
            return _rounded([first * Fraction(4, 100), (used - first) * Fraction(25, 1_000)])
        case "audio_seconds":
            return _rounded([Fraction(used, MILLISECONDS_PER_SECOND) * Fraction(35, 100)])
        case "searches":
            return 2 * used
        case "runs":
            return (3 if used <= 500 else 2) * used if plan == "pro" else 7 * -(-used // 10)
    return 0


def _rounded(lines: Iterable[Fraction]) -> int:
    return sum(int(line + Fraction(1, 2)) for line in lines)
