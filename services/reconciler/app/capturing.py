"""Whether everything that arrived before an instant is captured: the end of each partition, asked for after it, was passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.reconciler.ports import SourceEnds
from trueup.ledger.store import periods
from trueup.ledger.store.session import Session
from trueup.runtime import log


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where each partition ended when it was asked for."""

    asked_ms: int
    ends: Mapping[int, int]


class Capturing:
    """Asks where partitions end when somebody waits for it, and looks until the ledger has passed all of them.

    A partition on which nothing arrives has an end too, which is why this is asked of the broker and not of the newest arrival.
    """

    def __init__(self, session: Session, source: SourceEnds | None) -> None:
        self._session = session
        self._source = source
        self._mark: _Mark | None = None
        self._log = log.get("capturing")

    @property
    def why_waiting(self) -> str:
        """What is waited for; empty when nothing is."""
        return "" if self._mark is None else "usage on the source topic is not captured yet"

    def step(self, wanted_ms: int | None, now_ms: int) -> int | None:
        """Look whether usage that arrived by `wanted_ms` is captured; gives the instant up to which all of it is, when that moved.

        A mark stands until it was passed, also when somebody waits for a later one: under steady traffic it would move on for ever.
        """
        if wanted_ms is None or wanted_ms > now_ms or self._source is None:
            self._mark = None
            return None
        if self._mark is None:
            self._mark = _Mark(now_ms, self._source.ends())
        mark = self._mark
        captured = self._session.run(lambda connection: periods.captured_offsets(connection, mark.ends))
        if any(captured.get(partition, 0) < end for partition, end in mark.ends.items()):
            return None
        self._session.run(lambda connection: periods.store_captured_through(connection, mark.asked_ms))
        self._log.info("usage is captured", through_ms=mark.asked_ms)
        self._mark = None
        return mark.asked_ms
