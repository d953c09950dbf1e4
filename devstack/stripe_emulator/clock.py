"""The emulator's own reading of the street's clock: the machine's time, or eight bytes that the clock server writes."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import Protocol

_MILLISECONDS = struct.Struct("<q")


class Clock(Protocol):
    """Where every date of the emulator comes from."""

    @property
    def simulated(self) -> bool:
        """Whether someone else moves this clock."""
        ...

    def now_ms(self) -> int:
        """Give the present instant in milliseconds since the epoch."""
        ...


class SystemClock:
    """The machine's clock."""

    simulated = False

    def now_ms(self) -> int:
        """Give the machine's time."""
        return time.time_ns() // 1_000_000


class SimulatedClock:
    """A clock that another process moves by writing milliseconds, little-endian, into a file."""

    simulated = True

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), _MILLISECONDS.size, access=mmap.ACCESS_READ)

    def now_ms(self) -> int:
        """Read the instant last written."""
        milliseconds: int = _MILLISECONDS.unpack_from(self._memory)[0]
        return milliseconds


def clock_from(text: str) -> Clock:
    """Make the clock that ``system`` or ``simulated:/path/to/file`` names."""
    if text == "system":
        return SystemClock()
    kind, _, path = text.partition(":")
    if kind != "simulated" or not path:
        raise ValueError(f"a clock is 'system' or 'simulated:/path/to/file', not {text!r}")
    return SimulatedClock(Path(path))
