"""From gained partitions to their memory: the committed offset first, then the progress records that lead to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from services.dedupe.core.memory import Partition
from services.dedupe.core.restore import chain_up_to, continues, reaches_back, rebuilt, standing
from services.dedupe.ports import Books, Ends, Source
from trueup.contracts.errors import Transient
from trueup.contracts.progress import ProgressRecord

_Answer = TypeVar("_Answer")

ASK_SECONDS = 2.0
GIVE_UP_SECONDS = 60.0
"""An open transaction ends after 20 s at most. What waits longer waits for a client that has lost its way: a new process has a new one."""

FIRST_PAGE = 256
LONGEST_PAGE = 65_536
"""Offsets of the progress topic read at first, and at most; each older page is twice as long."""


class Restorer:
    """Rebuilds memories. `again` is told why before a question is repeated, `going_on` is called between two pages.

    Both raise when the room was asked to stop.
    """

    def __init__(self, source: Source, books: Books, ends: Ends, again: Callable[[str], None], going_on: Callable[[], None]) -> None:
        """Hold the ports."""
        self._source = source
        self._books = books
        self._ends = ends
        self._again = again
        self._going_on = going_on

    def restore(self, partitions: Sequence[int], known: Mapping[int, Partition]) -> dict[int, Partition]:
        """The memories of these partitions, each true up to where the group stands; those `known` from before are gone on from.

        The committed offsets are asked for first. While an old owner's transaction is open there is no answer; once there is
        one, that owner's generation is over and nothing of it can be committed any more. Then the progress records are read to
        the end of their log, past which no transaction is open.
        """
        committed = self._patiently(lambda: self._source.committed(partitions, ASK_SECONDS)) if partitions else {}
        return {partition: self._restored(partition, committed[partition], known.get(partition)) for partition in partitions}

    def _restored(self, partition: int, committed: int | None, known: Partition | None) -> Partition:
        log_start, _ = self._patiently(lambda: self._ends.bounds(partition))
        low, first = self._patiently(lambda: self._books.bounds(partition))
        read: list[ProgressRecord] = []
        page = FIRST_PAGE
        while first > low:
            self._going_on()
            older = max(low, first - page)
            read = self._page(partition, older, first) + read
            first, page = older, min(page * 2, LONGEST_PAGE)
            stands_at = standing(committed, read)
            if stands_at is None:
                continue
            chain = chain_up_to(read, stands_at)
            if reaches_back(chain) or continues(chain, known):
                break
        return rebuilt(partition, committed, log_start, read, known)

    def _page(self, partition: int, first: int, last: int) -> list[ProgressRecord]:
        return self._patiently(lambda: self._books.read(partition, first, last, ASK_SECONDS))

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                return ask()
            except Transient as transient:
                if time.monotonic() > give_up_at:
                    raise
                self._again(str(transient))
