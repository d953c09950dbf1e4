"""What the dedupe room says of each batch: the source offsets it covered, what arrived, and what it decided."""

from dataclasses import dataclass

MILLISECONDS_PER_HOUR = 3_600_000
IDENTITY_BYTES = 16
RECORD_HASH_BYTES = 8
PACKED_BYTES = IDENTITY_BYTES + RECORD_HASH_BYTES


@dataclass(frozen=True, slots=True)
class Tally:
    """Three sums that are conserved together: losing one event and doubling another fools the first, not the third."""

    events: int
    quantity: int
    id_sum: int

    def __add__(self, other: "Tally") -> "Tally":
        """Add each of the three."""
        return Tally(self.events + other.events, self.quantity + other.quantity, self.id_sum + other.id_sum)


ZERO = Tally(0, 0, 0)


@dataclass(frozen=True, slots=True)
class NewIds:
    """Ids first seen in one hour of append time; `packed` holds 24 bytes each: 16 of the identity, 8 of the record's hash."""

    hour: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class ProgressRecord:
    """One batch of one source partition: arrived = on_time + late + duplicate + refused, over [first_offset, next_offset)."""

    source_partition: int
    first_offset: int
    next_offset: int
    catalogue_version: int
    last_arrival_ms: int
    arrived: Tally
    on_time: Tally
    late: Tally
    duplicate: Tally
    refused: Tally
    suspect_events: int
    new_ids: tuple[NewIds, ...]


def append_hour(arrival_ms: int) -> int:
    """Name the hour of append time that a record belongs to."""
    return arrival_ms // MILLISECONDS_PER_HOUR
