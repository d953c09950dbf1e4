"""A loop that can be stopped, and how a room's process ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from trueup.contracts.errors import Broken
from trueup.runtime import log
from trueup.runtime.settings import SettingsError

STOPPED = 0  # asked to stop, and did
CRASHED = 1  # the supervisor starts it again
MISCONFIGURED = 2  # nothing is broken: the environment says something that cannot be used
HALTED = 3  # a broken invariant: stays down until a person has looked


class Stop:
    """A request to end, made once; waiting for it is how a room sleeps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def asked(self) -> bool:
        """True once somebody asked."""
        return self._event.is_set()

    def __bool__(self) -> bool:
        """True once somebody asked, so that `while not stop` reads as it should."""
        return self.asked

    def ask(self) -> None:
        """Asks to end after the step in hand."""
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Sleeps on the monotonic clock; true when it was asked to end."""
        return self._event.wait(seconds)

    def wait_for_ever(self) -> None:
        """Sleeps until asked to end."""
        self._event.wait()

    def on_signals(self) -> Stop:
        """Lets SIGTERM and SIGINT ask. Only the main thread may call this."""

        def asked(_number: int, _frame: FrameType | None) -> None:
            self.ask()

        signal.signal(signal.SIGTERM, asked)
        signal.signal(signal.SIGINT, asked)
        return self


def run(
    step: Callable[[], int],
    enough: Callable[[int], bool] = lambda handled: False,
    stop: Stop | None = None,
    idle_seconds: float = 0.0,
) -> None:
    """Takes steps until asked to stop. Production never passes `enough`; tests run turns of the very same loop.

    A step returns how much it handled; after one that handled nothing the loop sleeps `idle_seconds`.
    """
    stop = Stop() if stop is None else stop  # one that was not asked yet is false
    while not stop.asked:
        handled = step()
        if enough(handled):
            return
        if not handled and idle_seconds:
            stop.wait(idle_seconds)


def run_room(room: str, body: Callable[[Stop], None]) -> int:
    """Runs a room's body and turns its end into the process's exit code; the last log line says why."""
    log.configure(room)
    lines = log.get(room)
    stop = Stop().on_signals()
    try:
        body(stop)
    except SettingsError as fault:
        lines.critical(str(fault))
        return MISCONFIGURED
    except Broken as broken:
        lines.critical(str(broken), halted=True)
        return HALTED
    except Exception as error:
        lines.exception(f"{type(error).__name__}: {error}")
        return CRASHED
    lines.info("stopped")
    return STOPPED
