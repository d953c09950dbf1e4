"""What the dedupe room reads from its environment."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trueup.contracts.topics import DEDUPE_GROUP
from trueup.runtime.settings import StreetSettings

GROUP = DEDUPE_GROUP
"""The consumer group of all workers of this room."""

MAX_BATCH_RECORDS = 5_000
"""Id sums and capture's own batches are sized for no more than this."""


class Settings(StreetSettings):
    """The street's settings and this room's own."""

    table: ClassVar[str | None] = "dedupe"

    batch_records: int = Field(default=MAX_BATCH_RECORDS, ge=1, le=MAX_BATCH_RECORDS)
    """A batch is decided and committed when it has this many records, or when the next ones take too long to come."""

    quiet_seconds: float = Field(default=2.0, gt=0)
    """After so long at the end of a partition the room passes over the markers of its producers' transactions there. Whoever waits until
    everything is captured waits for the end, markers included; and once retention takes them away, a room that stood before them would
    look for records that were lost."""

    transaction_timeout_ms: int = Field(default=10_000, ge=1_000, le=15_000)
    """A stopped worker's open transaction holds up the next owner for this long, and up to 10 s more: the broker looks every 10 s."""
