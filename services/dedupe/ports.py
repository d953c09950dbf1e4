"""What the room needs of the world, in its own words. `adapters.py` has the real ones; no test replaces them by fakes of Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

from services.dedupe.core.records import Output, Record
from trueup.contracts.catalogue import Timeline
from trueup.contracts.errors import Transient
from trueup.contracts.progress import ProgressRecord

Membership = NewType("Membership", object)
"""Who this worker is in its group, and in which generation; only the group's coordinator reads it."""


class Refused(Transient):
    """A transaction did not happen and never will: its input is to be read again by whoever owns it now."""


@dataclass(slots=True)
class Fetched:
    """What one read brought, by source partition."""

    records: dict[int, list[Record]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)  # partitions read to their end, and the offset of that end
    unsettled: set[int] = field(default_factory=set)  # gained while this read was under way: its records may be from before


class Source(Protocol):
    """The usage topic, as a member of the room's group reads it."""

    def subscribe(self, gained: Callable[[Sequence[int]], Mapping[int, int]], gone: Callable[[Sequence[int]], None]) -> None:
        """Joins the group. `gained` says where to start in each new partition; both are called inside `read`."""

    def read(self, most: int, wait_seconds: float) -> Fetched:
        """The next records, at most so many; waits so long for the first."""

    def committed(self, partitions: Sequence[int], wait_seconds: float) -> Mapping[int, int | None]:
        """The group's committed offsets; Transient when they cannot be told yet, as while an old owner's transaction is open."""

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Reads on from here."""

    def membership(self) -> Membership:
        """What a transaction shows to the group's coordinator."""

    def close(self) -> None:
        """Leaves."""


class TransactionPort(Protocol):
    """Outputs, progress and offsets that appear together or not at all; calls come in this order."""

    def begin(self) -> None:
        """Opens a transaction."""

    def write(self, partition: int, outputs: Iterable[Output], progress: ProgressRecord) -> None:
        """Adds what was decided for a source partition."""

    def send_offsets(self, offsets: Mapping[int, int], membership: Membership) -> None:
        """Adds the source offsets to go on from; Refused when this worker no longer owns them."""

    def commit(self) -> None:
        """Returns only when all of it is there; Refused when none of it is and none ever will be."""

    def abort(self) -> None:
        """Takes all of it back."""


class Books(Protocol):
    """The room's own progress topic, read back."""

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset kept and the offset behind the last, open transactions included."""

    def read(self, partition: int, first: int, last: int, wait_seconds: float) -> list[ProgressRecord]:
        """The committed records in [first, last); Transient when for this time an open transaction still hides some."""


class CataloguePort(Protocol):
    """The catalogue's topic."""

    def timeline(self) -> Timeline:
        """Every version up to an end offset that is asked for in this call."""


class Ends(Protocol):
    """A client that fetches nothing, so its answer is of now."""

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset kept of a source partition, and the offset its next record will get."""
