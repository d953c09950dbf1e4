"""`python -m tests.makers.dedupe_stopping_at POINT TIMES SIGNAL`: the real room, which signals itself at a point of a transaction.

POINT is `written`, `offsets_sent` or `committed`; it happens the TIMES-th time the point is reached, in the real port.
At the point `oversized` it sends no signal: it adds a record that the broker refuses, and with it the transaction.
At the point `gave_up` it stands in the middle of a rebalance: its partitions are given up and nobody has them yet.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping

from services.dedupe.adapters.transaction import KafkaTransaction
from services.dedupe.app.worker import serve
from services.dedupe.config import Settings
from services.dedupe.core.records import Output, Route
from services.dedupe.ports import Membership
from trueup.contracts.progress import ProgressRecord
from trueup.contracts.topics import TopicNames


class StoppingAt(KafkaTransaction):
    """The real transaction and a point at which the process signals itself."""

    def __init__(self, settings: Settings, names: TopicNames, point: str, times: int, number: int) -> None:
        """As the room makes it."""
        super().__init__(settings, names)
        self._point = point
        self._times_left = times
        self._number = number

    def _reached(self, point: str) -> None:
        if point == self._point:
            self._times_left -= 1
            if self._times_left == 0:
                # The client sends from a thread of its own: what was written has to be on the broker by now.
                assert self._producer.flush(10) == 0
                os.kill(os.getpid(), self._number)

    def write(self, partition: int, outputs: Iterable[Output], progress: ProgressRecord) -> None:
        """Adds what was decided."""
        super().write(partition, outputs, progress)
        if self._point == "oversized":
            self._times_left -= 1
            if self._times_left == 0:
                super().write(partition, [Output(Route.ON_TIME, None, os.urandom(1_500_000), ())], progress)

    def send_offsets(self, offsets: Mapping[int, int], membership: Membership) -> None:
        """Adds the offsets."""
        self._reached("written")
        super().send_offsets(offsets, membership)
        self._reached("offsets_sent")

    def commit(self) -> None:
        """Commits."""
        super().commit()
        self._reached("committed")


def stop_when_given_up(number: int) -> None:
    """The stream says so in its log, from within the group's callback."""

    def heard(line: logging.LogRecord) -> bool:
        if isinstance(line.msg, dict) and line.msg.get("message") == "partitions gone":
            os.kill(os.getpid(), number)
        return True

    logging.getLogger("services.dedupe.app.stream").addFilter(heard)


def main() -> None:
    """Runs the room."""
    point, times, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Faust looks at the command line too.
    del sys.argv[1:]

    if point == "gave_up":
        stop_when_given_up(number)

    def make(settings: Settings, names: TopicNames) -> StoppingAt:
        return StoppingAt(settings, names, point, times, number)

    serve(Settings(), make)


if __name__ == "__main__":
    main()
