"""Floats of Stripe become integers by their shortest text, as far as a double is exact."""

from __future__ import annotations

from itertools import pairwise

import pytest

from services.reconciler.core.figures import figure_of, is_exact, windows_of

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("value", "scale", "quantity"), [(0.29, 2, 29), (1.005, 3, 1005), (-4.35, 2, -435), (999999999999999.0, 0, 10**15 - 1)]
)
def test_figures(value: float, scale: int, quantity: int):
    figure = figure_of(HOUR_MS, [value], scale)
    assert (figure.quantity, figure.exact, figure.value_text) == (quantity, True, repr(value))


def test_a_figure_of_sixteen_digits_is_not_exact():
    assert is_exact(999_999_999_999_999.0, 0)
    assert not is_exact(1_000_000_000_000_000.0, 0)
    assert not is_exact(10_000_000_000_000.0, 2)
    assert not figure_of(0, [1e15], 0).exact


def test_windows_add_up_to_what_one_double_cannot_hold():
    figure = figure_of(0, [999_999_999_999_999.0, 999_999_999_999_998.0], 0)
    assert (figure.quantity, figure.exact) == (1_999_999_999_999_997, True)
    assert figure.value_text == "999999999999999.0+999999999999998.0"


def test_windows_cover_the_hour_once():
    windows = windows_of(7 * HOUR_MS, 300)
    assert len(windows) == 12
    assert (windows[0][0], windows[-1][1]) == (7 * HOUR_MS, 8 * HOUR_MS)
    assert all(before[1] == after[0] for before, after in pairwise(windows))
