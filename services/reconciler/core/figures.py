"""What a figure of Stripe means: floats become integers by their shortest text, and only as far as a double is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trueup.contracts.quantities import summary_to_smallest

LARGEST_EXACT = 10**15 - 1  # 15 digits: what Stripe takes as one value, and what a double holds for sure


@dataclass(frozen=True, slots=True)
class Figure:
    """One reading of one hour."""

    hour_start_ms: int
    value_text: str
    quantity: int  # smallest unit
    exact: bool


def is_exact(value: float, scale: int) -> bool:
    """Say whether a figure has no more digits than a double holds."""
    return abs(summary_to_smallest(value, scale)) <= LARGEST_EXACT


def figure_of(hour_start_ms: int, values: Sequence[float], scale: int) -> Figure:
    """Add up what was read for an hour: one figure, or one for each roll-up window."""
    quantities = [summary_to_smallest(value, scale) for value in values]
    return Figure(
        hour_start_ms,
        "+".join(repr(value) for value in values) or "0",
        sum(quantities),
        all(abs(quantity) <= LARGEST_EXACT for quantity in quantities),
    )


def windows_of(hour_start_ms: int, roll_up_seconds: int) -> list[tuple[int, int]]:
    """Give the roll-up windows of an hour."""
    step_ms = roll_up_seconds * 1_000
    return [(start, start + step_ms) for start in range(hour_start_ms, hour_start_ms + 3_600_000, step_ms)]
