"""`python -m tests.makers.capture_stopping_at PLACE TIMES FOLDER`: the real sink, which stops itself at a place of a capture transaction.

PLACE names one of the store's places; the process stops the TIMES-th time it is reached, having written down which transaction it
is in. When that very transaction has ended, however it did, it writes that down too and stops once more: nothing else was done yet.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import psycopg

from services.stripe_sink.__main__ import main
from trueup.ledger.store import capture

STOPPED, ENDED = "stopped.json", "ended.json"


class StoppingAt:
    """The real capture transaction and a place at which the process stops."""

    def __init__(self, place: capture.Place, times: int, folder: Path) -> None:
        self._place = place
        self._times_left = times
        self._folder = folder
        self._real = capture.capture

    def __call__(self, connection: psycopg.Connection, writer: str, batch: capture.Batch, subjects: capture.Subjects) -> capture.Captured:
        """As the room calls it."""
        stopped = False

        def reached(place: capture.Place) -> None:
            nonlocal stopped
            if place is self._place:
                self._times_left -= 1
                stopped = self._times_left == 0
            if stopped and place is self._place:
                # All processes of a machine share its monotonic clock.
                self._stop(STOPPED, {"partition": batch.partition, "pid": connection.info.backend_pid, "at": time.monotonic()})

        came_to = "committed"
        try:
            return self._real(connection, writer, batch, subjects, reached)
        except Exception as failure:
            came_to = f"{type(failure).__name__}: {failure}"
            raise
        finally:
            if stopped:
                self._stop(ENDED, {"came_to": came_to})

    def _stop(self, name: str, said: dict[str, object]) -> None:
        part = self._folder / f"{name}.part"
        part.write_text(json.dumps(said))
        part.rename(self._folder / name)
        os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    _, place_name, count, where = sys.argv
    capture.capture = StoppingAt(capture.Place[place_name], int(count), Path(where))
    sys.exit(main())
