"""Two independent arithmetics on the same generated prices: ours, and the emulator's, each written from Stripe's documentation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from devstack.stripe_emulator.pricing import charges
from trueup.contracts.pricing import amount_of, parse_price

PAIRS = 2_000
LEAST = Decimal("0.000000000001")  # the finest quantity and the finest price that Stripe knows


def _amount(chance: random.Random) -> str:
    """A price: whole cents, halves, tenths, or any of twelve decimals."""
    places = chance.choice((0, 0, 1, 2, 4, 12))
    return f"{Decimal(chance.randrange(0, 10 ** (places + chance.randrange(1, 5)))).scaleb(-places):f}"


def _quantity(chance: random.Random, bounds: list[int]) -> Decimal:
    """A quantity: none, at a bound, just beside it, or anywhere, whole or with decimals."""
    kind = chance.randrange(8)
    if kind == 0:
        return Decimal(0)
    if kind <= 3 and bounds:
        return max(Decimal(0), Decimal(chance.choice(bounds)) + chance.choice((Decimal(0), LEAST, -LEAST, Decimal(1), Decimal("-0.5"))))
    if kind == 4:
        return Decimal(chance.randrange(10**15))
    places = chance.choice((0, 1, 3, 12))
    return Decimal(chance.randrange(10 ** (places + chance.randrange(1, 7)))).scaleb(-places)


def _tiers(chance: random.Random) -> list[dict[str, Any]]:
    bounds = sorted(chance.sample(range(1, 10 ** chance.randrange(1, 6) + 8), chance.randrange(0, 5)))
    tiers = []
    for up_to in (*bounds, None):
        unit, flat = (_amount(chance) if chance.randrange(4) else None), (_amount(chance) if chance.randrange(2) else None)
        tiers.append({"up_to": up_to, "unit_amount_decimal": "0" if unit is flat is None else unit, "flat_amount_decimal": flat})
    return tiers


def _price(kind: str, chance: random.Random) -> dict[str, Any]:
    price: dict[str, Any] = {
        "id": "price_1",
        "currency": chance.choice(("usd", "jpy", "kwd")),
        "billing_scheme": "per_unit",
        "tiers_mode": None,
        "transform_quantity": None,
        "unit_amount_decimal": _amount(chance),
        "recurring": {"meter": "mtr_1"},
    }
    if kind in ("graduated", "volume"):
        price |= {"billing_scheme": "tiered", "tiers_mode": kind, "tiers": _tiers(chance), "unit_amount_decimal": None}
    if kind == "package":
        price |= {"transform_quantity": {"divide_by": chance.choice((1, 2, 3, 60, 1000, 7919)), "round": chance.choice(("up", "down"))}}
    return price


def _pairs(kind: str) -> Iterator[tuple[dict[str, Any], Decimal]]:
    chance = random.Random(f"prices of kind {kind}")
    for _ in range(PAIRS):
        price = _price(kind, chance)
        package = price["transform_quantity"]
        bounds = [tier["up_to"] for tier in price.get("tiers", ()) if tier["up_to"]] + ([3 * package["divide_by"]] if package else [])
        yield price, _quantity(chance, bounds)


@pytest.mark.parametrize("kind", ["per_unit", "graduated", "volume", "package"])
def test_both_come_to_the_same_minor_unit(kind: str) -> None:
    different = []
    seen = set()
    for price, quantity in _pairs(kind):
        ours, theirs = amount_of(parse_price(price), quantity), charges(price, quantity)
        seen.add(ours.amount_minor)
        if [(line.quantity, line.amount_minor) for line in ours.lines] != [(charge.quantity, charge.amount) for charge in theirs]:
            different.append((price, quantity, ours, theirs))
    assert not different, f"{len(different)} of {PAIRS} differ, the first: {different[0]}"
    assert len(seen) > PAIRS // 3, "the pairs are all alike"
