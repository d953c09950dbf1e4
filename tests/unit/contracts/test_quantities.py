"""Quantities: integers in, integers out, and one rounding."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.contracts.catalogue import Aggregation, Meter
from trueup.contracts.events import UsageEvent
from trueup.contracts.quantities import billable_quantity, from_decimal_text, summary_to_smallest, to_decimal_text

QUANTITIES = st.integers(-(10**15) + 1, 10**15 - 1)


@pytest.mark.parametrize(
    ("quantity", "scale", "text"),
    [
        (0, 0, "0"),
        (374, 0, "374"),
        (-374, 0, "-374"),
        (0, 3, "0.000"),
        (5, 3, "0.005"),
        (-5, 3, "-0.005"),
        (1234, 3, "1.234"),
        (10**15 - 1, 12, "999.999999999999"),
        (-(10**15), 0, "-1000000000000000"),
    ],
)
def test_to_decimal_text(quantity: int, scale: int, text: str) -> None:
    """Plain notation with every place of the scale."""
    assert to_decimal_text(quantity, scale) == text
    assert from_decimal_text(text, scale) == quantity


@given(QUANTITIES, st.integers(0, 12))
def test_decimal_text_comes_back(quantity: int, scale: int) -> None:
    """Nothing is lost, and Python's decimal agrees on what was written."""
    text = to_decimal_text(quantity, scale)
    assert from_decimal_text(text, scale) == quantity
    assert Decimal(text) == Decimal(quantity).scaleb(-scale)


@pytest.mark.parametrize(("text", "scale", "quantity"), [("1", 3, 1000), ("1.5", 3, 1500), ("-0", 0, 0), ("007", 0, 7), ("-0.1", 1, -1)])
def test_fewer_places_than_the_scale(text: str, scale: int, quantity: int) -> None:
    """What is missing is zero."""
    assert from_decimal_text(text, scale) == quantity


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1\n", "+1", "1.", ".5", "1e3", "1_000", "1,5", "NaN", "Infinity", "0x1", "١", "--1", "1.0.0", "1" * 41]
)
def test_no_plain_decimal(text: str) -> None:
    """Nothing that one reader takes for another number than the next."""
    with pytest.raises(ValueError, match="no plain decimal"):
        from_decimal_text(text, 2)


@pytest.mark.parametrize(("text", "scale"), [("1.5", 0), ("1.0", 0), ("0.0001", 3)])
def test_more_places_than_the_scale(text: str, scale: int) -> None:
    """Rounding a customer's usage is not ours to do."""
    with pytest.raises(ValueError, match="decimal places"):
        from_decimal_text(text, scale)


@given(QUANTITIES, st.integers(0, 6))
def test_a_summary_comes_back_exactly(quantity: int, scale: int) -> None:
    """A float holds every quantity of 15 digits, at any scale."""
    assert summary_to_smallest(float(Decimal(quantity).scaleb(-scale)), scale) == quantity


def test_the_obvious_way_is_wrong() -> None:
    """Why there is a function for it."""
    assert int(1.13 * 10**2) == 112
    assert summary_to_smallest(1.13, 2) == 113
    assert summary_to_smallest(0.1 + 0.2, 3) == 300
    # The float is a little below 1.015; what Stripe meant is its shortest text.
    assert summary_to_smallest(1.015, 2) == 102


@pytest.mark.parametrize(("value", "quantity"), [(0.0, 0), (-0.0, 0), (1e22, 10**22), (1e-7, 0), (0.5, 0), (1.5, 2), (-1.5, -2)])
def test_summary_edges(value: float, quantity: int) -> None:
    """Large ones keep every digit; a half goes to the even neighbour."""
    assert summary_to_smallest(value, 0) == quantity


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_summary_that_is_no_number(value: float) -> None:
    """Never taken for zero."""
    with pytest.raises((ValueError, OverflowError)):
        summary_to_smallest(value, 0)


@pytest.mark.parametrize(
    ("aggregation", "quantity", "corrects", "weight"),
    [
        (Aggregation.SUM, 374, None, 374),
        (Aggregation.SUM, -374, "req-1", -374),
        (Aggregation.SUM, 0, None, 0),
        (Aggregation.COUNT, 374, None, 1),
        (Aggregation.COUNT, 0, None, 1),
        (Aggregation.COUNT, -374, "req-1", -1),
        (Aggregation.COUNT, -1, None, -1),
    ],
)
def test_billable_quantity(aggregation: Aggregation, quantity: int, corrects: str | None, weight: int) -> None:
    """A meter that counts gives each event the weight 1, and -1 to one that takes back."""
    meter = Meter("m", "unit", 0, aggregation, 2700, 86_400, 600, 300, "m")
    event = UsageEvent("i", "s", 0, "m", "c", quantity, "r", corrects, {})
    assert billable_quantity(event, meter) == weight
