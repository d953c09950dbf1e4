"""A sink's dispatch in a process of its own, which ends or freezes itself at a place that a test names.

    python -m tests.makers.dispatch_process DSN STRIPE_URL NAME PLACE FLAG_FILE [as_delivered]

The place is met once, at the first call: `before_call` stands between the committed attempt and the call, `after_call`
between the call and the storing of its answer, `before_reading` between the lease of a lane and the reading of its hour.
With `as_delivered` it has the limits of the room, and not those of an impatient test.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from services.stripe_sink.app.dispatch import Dispatch, DispatchLimits
from services.stripe_sink.core.dispatch_outcome import Answer
from services.stripe_sink.metrics import dispatch as metrics
from tests.makers.dispatch_world import QUICK, make_meters
from trueup.runtime import log
from trueup.runtime.loop import Stop
from trueup.runtime.metrics import Registry


class MeetingMeters(StripeMeters):
    """The real adapter, with one place where the process sends itself a signal."""

    def __init__(self, real: StripeMeters, place: str, signal_number: int, flag: Path) -> None:
        self.__dict__.update(real.__dict__)
        self._place = place
        self._signal_number = signal_number
        self._flag = flag

    def send(self, body: Mapping[str, object], idempotency_key: str) -> Answer:
        """Send, and meet the place before or after."""
        self._meet("before_call")
        answer = super().send(body, idempotency_key)
        self._meet("after_call")
        return answer

    def summary_values(self, stripe_customer: str, event_name: str, start_ms: int, end_ms: int) -> Sequence[float]:
        """Read, and meet the place before."""
        self._meet("before_reading")
        return super().summary_values(stripe_customer, event_name, start_ms, end_ms)

    def _meet(self, place: str) -> None:
        if place == self._place and self._is_first():
            os.kill(os.getpid(), self._signal_number)

    def _is_first(self) -> bool:
        """Made by one thread only: a second one that met the place would freeze the process again when it is woken."""
        try:
            self._flag.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def main() -> None:
    """Dispatch until told to stop."""
    dsn, url, name, place, flag, *delivered = sys.argv[1:]
    signal_name, _, where = place.partition(":")
    log.configure(name)
    meters = MeetingMeters(make_meters(url), where, getattr(signal, signal_name, 0), Path(flag))
    dispatch = Dispatch(dsn, name, meters, Registry(*metrics.ALL, room=name), DispatchLimits() if delivered else QUICK)
    stop = Stop().on_signals()
    dispatch.start()
    stop.wait_for_ever()
    dispatch.stop()


if __name__ == "__main__":
    main()
