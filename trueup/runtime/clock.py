"""The one place that reads the wall clock; a simulated street reads one shared file instead.

Waits never come here: they run on `time.monotonic`.
"""

from __future__ import annotations

import mmap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

SIMULATED_PREFIX = "simulated:"
CLOCK_FILE_BYTES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where every date of the pipeline comes from."""

    @property
    def simulated(self) -> bool:
        """True when dates are moved by the street's clock server."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""


class SystemClock:
    """The machine's wall clock."""

    simulated = False

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000


class SimulatedClock:
    """Reads the date that the street's clock server keeps in a shared file: 8 bytes, little-endian, milliseconds."""

    simulated = True

    def __init__(self, path: str | Path) -> None:
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), CLOCK_FILE_BYTES, access=mmap.ACCESS_READ)
        # One 8-byte load: a reader never sees half of a step. All platforms we support are little-endian.
        self._value = memoryview(self._map).cast("q")

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, as the clock server last wrote them."""
        return self._value[0]


def clock_from(text: str) -> Clock:
    """The clock that a setting names: `system`, or `simulated:/path/to/file`."""
    if text == "system":
        return SystemClock()
    if text.startswith(SIMULATED_PREFIX):
        return SimulatedClock(text.removeprefix(SIMULATED_PREFIX))
    raise ValueError(f"clock is 'system' or 'simulated:FILE', not {text!r}")


def rfc3339(instant_ms: int) -> str:
    """`2026-11-01T00:00:00.000Z`; milliseconds are shown only where there are some."""
    moment = _EPOCH + timedelta(milliseconds=instant_ms)
    return moment.isoformat(timespec="milliseconds" if instant_ms % 1_000 else "seconds").replace("+00:00", "Z")


def ms_from_rfc3339(text: str) -> int:
    """Milliseconds of an RFC 3339 instant, which must name its offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no offset from UTC")
    return (moment - _EPOCH) // timedelta(milliseconds=1)
