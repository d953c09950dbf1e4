"""What the room remembers of one source partition: a function of the input prefix, rebuilt from progress records."""

from __future__ import annotations

from struct import Struct

from trueup.contracts.errors import Broken
from trueup.contracts.progress import IDENTITY_BYTES, RECORD_HASH_BYTES, NewIds, ProgressRecord, append_hour

MEMORY_HOURS = 48
"""An id is remembered while its append hour is less than this many hours behind the newest one seen in its partition."""

HASH_BITS = 8 * RECORD_HASH_BYTES
HASH_MASK = (1 << HASH_BITS) - 1
_PACKED = Struct(f">{IDENTITY_BYTES}sQ")


class Partition:
    """The memory of one source partition and the offset up to which it is true.

    It changes in one place only, `absorb`, which takes a progress record: a live room and a restored one walk the same path,
    so they cannot come to differ.
    """

    __slots__ = ("_by_hour", "known", "newest_arrival_ms", "next_offset", "number")

    def __init__(self, number: int, next_offset: int) -> None:
        """Begin with an empty memory at this offset."""
        self.number = number
        self.next_offset = next_offset
        self.newest_arrival_ms: int | None = None
        # Identity → append hour and record hash in one integer: one look-up whatever the hour, one small object an id.
        self.known: dict[bytes, int] = {}
        # The packed bytes of the progress records themselves, kept to know what to forget when an hour falls out.
        self._by_hour: dict[int, list[bytes]] = {}

    @property
    def remembered_hours(self) -> int:
        """How many append hours have ids here."""
        return len(self._by_hour)

    def absorb(self, progress: ProgressRecord) -> None:
        """Go on to where a decided batch ends."""
        if progress.source_partition != self.number or progress.first_offset != self.next_offset:
            raise Broken(
                f"source partition {self.number} stands at {self.next_offset}, which no progress record of partition "
                f"{progress.source_partition} from {progress.first_offset} continues"
            )
        for ids in progress.new_ids:
            self._remember(ids)
        self.next_offset = progress.next_offset
        newest = progress.last_arrival_ms
        self.newest_arrival_ms = newest if self.newest_arrival_ms is None else max(newest, self.newest_arrival_ms)
        self._forget_hours_up_to(forgotten_hour(self.newest_arrival_ms))

    def _remember(self, ids: NewIds) -> None:
        high_bits = ids.hour << HASH_BITS
        self.known.update([(identity, high_bits | record_hash) for identity, record_hash in _PACKED.iter_unpack(ids.packed)])
        self._by_hour.setdefault(ids.hour, []).append(ids.packed)

    def _forget_hours_up_to(self, hour: int) -> None:
        for gone in [held for held in self._by_hour if held <= hour]:
            for packed in self._by_hour.pop(gone):
                for identity, _ in _PACKED.iter_unpack(packed):
                    # An id that came back after its hour fell out of memory is held under its new hour: that one stays.
                    if self.known.get(identity, -1) >> HASH_BITS == gone:
                        del self.known[identity]


def forgotten_hour(newest_arrival_ms: int) -> int:
    """The newest append hour that is no longer remembered."""
    return append_hour(newest_arrival_ms) - MEMORY_HOURS


def pack(identity: bytes, record_hash: bytes) -> bytes:
    """One id as a progress record holds it."""
    return identity + record_hash
