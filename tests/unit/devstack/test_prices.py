"""The generator's own reckoning of its prices, worked out by hand."""

from __future__ import annotations

import pytest

from devstack.load_generator.month import PRODUCTS
from devstack.load_generator.prices import PRICES, owed_minor


@pytest.mark.parametrize(
    ("meter", "plan", "quantity", "cents"),
    [
        ("input_tokens", "basic", 49, 0),
        ("input_tokens", "basic", 50, 1),
        ("input_tokens", "pro", 123_450, 1_235),
        ("output_tokens", "basic", 100_000, 4_000),
        ("output_tokens", "basic", 100_020, 4_001),
        ("output_tokens", "basic", 100_019, 4_000),
        ("audio_seconds", "basic", 1_429, 1),
        ("audio_seconds", "basic", 1_428, 0),
        ("searches", "basic", 3, 6),
        ("runs", "basic", 20, 14),
        ("runs", "basic", 21, 21),
        ("runs", "pro", 500, 1_500),
        ("runs", "pro", 501, 1_002),
        ("runs", "pro", -4, 0),
        ("teleportations", "pro", 5, 0),
    ],
)
def test_a_quantity_costs(meter: str, plan: str, quantity: int, cents: int) -> None:
    assert owed_minor(meter, plan, quantity) == cents


def test_every_meter_has_a_price() -> None:
    metered = {meter for meters in PRODUCTS.values() for meter in meters}
    assert {f"price_{meter}" for meter in metered - {"runs"}} | {"price_basic_runs", "price_pro_runs"} == PRICES.keys()
    assert all(owed_minor(meter, "basic", 10**6) > 0 for meter in metered)
