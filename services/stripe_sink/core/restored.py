"""How a ledger that was put back from a copy is known: it stands behind what it once told others that it held."""

from __future__ import annotations

from collections.abc import Mapping


def behind(shown: Mapping[int, int], held: Mapping[int, int]) -> list[int]:
    """The partitions in which more was captured once than the ledger holds now.

    Positions are shown only after their rows were committed, so a ledger with its whole past is never behind; one that shows
    too little (a group that has forgotten) is no sign of anything.
    """
    return sorted(partition for partition, offset in shown.items() if held.get(partition, 0) < offset)
