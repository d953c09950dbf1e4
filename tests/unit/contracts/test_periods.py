"""Windows of event time, and what late means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.contracts.catalogue import Aggregation, Meter
from trueup.contracts.periods import FUTURE_TOLERANCE_MS, Segment, is_in_future, is_late, late_by_ms, segment_of

METER = Meter("m", "unit", 0, Aggregation.SUM, 2700, 86_400, 600, 300, "m")
MINUTE = 60_000
ROLL_UPS = [60, 120, 180, 240, 300, 600, 720, 900, 1200, 1800, 3600]


@pytest.mark.parametrize(
    ("event_time", "boundaries", "segment"),
    [
        (0, (), (0, 5 * MINUTE)),
        (5 * MINUTE - 1, (), (0, 5 * MINUTE)),
        (5 * MINUTE, (), (5 * MINUTE, 10 * MINUTE)),
        # A boundary inside the window; an event exactly on it belongs to the later part.
        (2 * MINUTE - 1, (2 * MINUTE,), (0, 2 * MINUTE)),
        (2 * MINUTE, (2 * MINUTE,), (2 * MINUTE, 5 * MINUTE)),
        (2 * MINUTE + 1, (2 * MINUTE,), (2 * MINUTE, 5 * MINUTE)),
        # Boundaries outside it, or on its edges, change nothing.
        (MINUTE, (0, 5 * MINUTE, 60 * MINUTE, -MINUTE), (0, 5 * MINUTE)),
        # Several, in any order.
        (2 * MINUTE, (3 * MINUTE, MINUTE, 4 * MINUTE, 2 * MINUTE - 1), (2 * MINUTE - 1, 3 * MINUTE)),
    ],
)
def test_segment_of(event_time: int, boundaries: tuple[int, ...], segment: tuple[int, int]) -> None:
    """Half-open windows of five minutes."""
    assert segment_of(event_time, 300, boundaries) == Segment(*segment)


@given(st.integers(0, 2**42), st.sampled_from(ROLL_UPS), st.lists(st.integers(0, 2**42), max_size=5))
def test_segments_tile_time(event_time: int, roll_up: int, boundaries: list[int]) -> None:
    """Every instant is in exactly the segment that each instant of that segment is in; none crosses a boundary or an hour."""
    near = [event_time - 1, event_time, event_time + 1, *boundaries]
    segment = segment_of(event_time, roll_up, near)
    assert segment.start_ms <= event_time < segment.end_ms
    assert segment_of(segment.start_ms, roll_up, near) == segment_of(segment.end_ms - 1, roll_up, near) == segment
    assert segment_of(segment.end_ms, roll_up, near).start_ms == segment.end_ms
    assert not any(segment.start_ms < boundary < segment.end_ms for boundary in near)
    assert segment.start_ms // 3_600_000 == (segment.end_ms - 1) // 3_600_000


@pytest.mark.parametrize(
    ("waited", "late", "by"),
    [(-1, False, 0), (0, False, 0), (45 * MINUTE, False, 0), (45 * MINUTE + 1, True, 1), (60 * MINUTE, True, 15 * MINUTE)],
)
def test_late(waited: int, late: bool, by: int) -> None:
    """Exactly the billing window is on time; a millisecond more is late by that."""
    arrival = 1_700_000_000_000
    assert is_late(arrival - waited, arrival, METER) is late
    assert late_by_ms(arrival - waited, arrival, METER) == by


def test_in_future() -> None:
    """Five minutes ahead are forgiven, a millisecond more is not."""
    assert not is_in_future(FUTURE_TOLERANCE_MS, 0)
    assert is_in_future(FUTURE_TOLERANCE_MS + 1, 0)
