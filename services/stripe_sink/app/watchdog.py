"""Nobody may hold the posting barrier for long: everybody else would stand still, and no time-out of Postgres ends such a hold."""

from __future__ import annotations

import threading
import time

from services.stripe_sink.metrics.capture import TERMINATED
from trueup.contracts.errors import PipelineError
from trueup.ledger.store import barrier
from trueup.ledger.store.session import Session
from trueup.runtime import log
from trueup.runtime.loop import Stop
from trueup.runtime.metrics import Registry

LOOK_SECONDS = 1.0


class Watchdog:
    """Looks once a second, from a thread and a connection of its own, and ends the connection of whoever held on too long."""

    def __init__(self, dsn: str, room: str, registry: Registry, longest_seconds: float = barrier.LONGEST_HOLD_SECONDS) -> None:
        self._session = Session(dsn, f"trueup-{room}/watchdog")
        self._watch = barrier.Watch(longest_seconds)
        self._registry = registry
        self._log = log.get("watchdog")
        self._stop = Stop()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.ask()
        self._thread.join()
        self._session.close()

    def look(self, now_seconds: float) -> int:
        """One look; gives how many connections it ended."""
        overdue = self._watch.overdue(self._session.run(barrier.holders), now_seconds)
        for holder in overdue:
            ended = self._session.run(lambda connection, holder=holder: barrier.terminate(connection, holder))  # type: ignore[misc]
            self._registry.increase(TERMINATED, ended)
            self._log.error("ended a connection that held the barrier too long", pid=holder.pid, ended=ended)
        return len(overdue)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.look(time.monotonic())
            except PipelineError as failure:
                # The ledger is away, or the holder is somebody whom the writer may not end; both are looked at again in a second.
                self._log.warning("could not look after the barrier", why=str(failure))
