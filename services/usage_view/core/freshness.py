"""Up to when everything that arrived is in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trueup.ledger.customer_usage import Progress


@dataclass(frozen=True, slots=True)
class Mark:
    """Where each partition of the source topic ended when it was asked for."""

    asked_ms: int
    ends: Mapping[int, int]


def data_through_ms(progress: Sequence[Progress], mark: Mark | None) -> int | None:
    """Give the instant before which everything that arrived is in the ledger, on every partition; None while one of them says nothing.

    A partition that was captured to its end is up to date with the question; any other only with the last arrival that was captured.
    """
    instants = [_partition(one, mark) for one in progress]
    known = [instant for instant in instants if instant is not None]
    return min(known) if known and len(known) == len(instants) else None


def _partition(progress: Progress, mark: Mark | None) -> int | None:
    end = None if mark is None else mark.ends.get(progress.partition)
    if mark is not None and end is not None and (progress.next_offset or 0) >= end:
        return mark.asked_ms
    return progress.last_arrival_ms
