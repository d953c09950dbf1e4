"""What the capture room does with progress records, through the store's own functions and without a broker."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg

from services.stripe_sink.core import capture as core
from services.stripe_sink.core.capture_destination import Closing
from trueup.contracts.catalogue import Timeline
from trueup.ledger.store import capture, clock, customers, periods

TOPICS = ("on_time", "late", "rejected", "progress")


@dataclass
class RoomCapture:
    """Where a room stands that captures into one ledger."""

    writer: psycopg.Connection
    subjects: dict[tuple[str, str], int] = field(default_factory=dict)
    positions: dict[int, dict[str, int]] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)

    def capture(self, announced: tuple[core.Announced, ...], timeline: Timeline, partition: int, *, unaware: bool = False) -> int:
        """Capture progress records in one transaction, as the room does; gives the batch number.

        An unaware room looked for who is never billed before anybody was.
        """
        never_billed = frozenset(() if unaware else [row.customer for row in customers.never_billed(self.writer)])
        closing = Closing(clock.now_ms(self.writer), periods.calendars(self.writer, core.used(announced)), never_billed)
        slices = [core.slice_of(one, timeline, closing) for one in announced]
        self.subjects |= capture.number_subjects(self.writer, core.subjects(slices) - self.subjects.keys())
        if partition not in self.positions:
            claim = capture.claim(self.writer, "room", partition, dict.fromkeys(TOPICS, 0))
            self.positions[partition], self.epochs[partition] = dict(claim.positions), claim.epoch
        held = self.positions[partition]
        steps = {
            "on_time": sum(len(one.on_time) for one in announced),
            "late": sum(len(one.late) for one in announced),
            "rejected": sum(len(one.rejected) for one in announced),
            # Offsets of progress records leave gaps: transactions end with records that nobody reads.
            "progress": announced[-1].progress_offset + 1 - held["progress"],
        }
        advances = tuple([capture.Advance(topic, held[topic], held[topic] + step) for topic, step in steps.items()])
        batch = capture.Batch(partition, self.epochs[partition], advances, core.identities(slices), lambda kept: core.decide(slices, kept))
        captured = capture.capture(self.writer, "room", batch, self.subjects)
        self.positions[partition] = {advance.topic: advance.next for advance in advances}
        return captured.batch_id
