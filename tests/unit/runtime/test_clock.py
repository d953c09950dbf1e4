"""Dates come from one place, the machine's or the street's."""

import mmap
import time
from pathlib import Path

import pytest

from trueup.runtime.clock import SystemClock, clock_from, ms_from_rfc3339, rfc3339


def test_system_clock_is_the_machines() -> None:
    """Under `system` dates are the wall's."""
    clock = clock_from("system")
    assert isinstance(clock, SystemClock) and not clock.simulated
    assert abs(clock.now_ms() - time.time_ns() // 1_000_000) < 1_000


def test_simulated_clock_shows_each_step_of_the_shared_file(tmp_path: Path) -> None:
    """A reader sees the new date without opening the file again."""
    path = tmp_path / "clock"
    path.write_bytes((1_790_000_000_000).to_bytes(8, "little", signed=True))
    clock = clock_from(f"simulated:{path}")
    assert clock.simulated and clock.now_ms() == 1_790_000_000_000
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        shared[:8] = (1_790_000_000_001).to_bytes(8, "little", signed=True)
    assert clock.now_ms() == 1_790_000_000_001


def test_another_clock_is_refused() -> None:
    """A misspelt clock must not fall back to the wall."""
    with pytest.raises(ValueError, match="simulated:FILE"):
        clock_from("simulate")


@pytest.mark.parametrize(("ms", "text"), [(0, "1970-01-01T00:00:00Z"), (1_793_491_200_123, "2026-11-01T00:00:00.123Z")])
def test_rfc3339_goes_both_ways(ms: int, text: str) -> None:
    """Dates as text keep their milliseconds."""
    assert rfc3339(ms) == text
    assert ms_from_rfc3339(text) == ms


def test_a_date_without_offset_is_refused() -> None:
    """A local date is a guess."""
    with pytest.raises(ValueError, match="offset"):
        ms_from_rfc3339("2026-11-01T00:00:00")
