"""A capture room without Kafka: claims a partition and captures batches of given deliveries. As a process, it dies where it is told to.

python -m tests.makers.capture_writer DSN PARTITION SEED FOLDER DEATHS
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from services.stripe_sink.core import capture as core
from tests.makers.capture_batches import make_announced, make_event, make_forwarded, make_timeline
from trueup.contracts.errors import Transient
from trueup.contracts.events import UsageEvent
from trueup.ledger.store import capture
from trueup.ledger.store.session import Session

TOPICS = ("on_time", "late", "rejected", "progress")
TIMELINE = make_timeline()
BATCHES, WIDTH = 24, 150

Delivery = tuple[UsageEvent, bool]


@dataclass
class Writer:
    """What a capture room keeps of one partition, and how it captures one batch."""

    connection: psycopg.Connection
    partition: int
    claim: capture.Claim = field(init=False)
    positions: dict[str, int] = field(init=False)
    subjects: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.take()

    def take(self) -> None:
        """Claim the partition, as on assignment."""
        self.claim = capture.claim(self.connection, "room", self.partition, dict.fromkeys(TOPICS, 0))
        self.positions = dict(self.claim.positions)

    def capture(self, *announced: core.Announced, reached: Callable[[capture.Place], None] = lambda place: None) -> capture.Captured:
        """One transaction, as the room's shell makes it."""
        slices = [core.slice_of(item, TIMELINE) for item in announced]
        self.subjects |= capture.number_subjects(self.connection, core.subjects(slices) - self.subjects.keys())
        steps = {
            "on_time": sum(len(item.on_time) for item in announced),
            "late": sum(len(item.late) for item in announced),
            "rejected": sum(len(item.rejected) for item in announced),
            "progress": len(announced),
        }
        advances = tuple(capture.Advance(topic, self.positions[topic], self.positions[topic] + step) for topic, step in steps.items())
        batch = capture.Batch(self.partition, self.claim.epoch, advances, core.identities(slices), lambda kept: core.decide(slices, kept))
        captured = capture.capture(self.connection, "room", batch, self.subjects, reached)
        self.positions = {advance.topic: advance.next for advance in advances}
        return captured


def batches(deliveries: Sequence[Delivery], width: int, partition: int = 0) -> Iterator[core.Announced]:
    """Progress records over deliveries, `width` each."""
    for number, start in enumerate(range(0, len(deliveries), width)):
        records = [(make_forwarded(offset, event), late) for offset, (event, late) in enumerate(deliveries[start : start + width], start)]
        yield make_announced(
            partition=partition,
            first_offset=start,
            on_time=[record for record, late in records if not late],
            late=[record for record, late in records if late],
            progress_offset=number,
        )


def story(partition: int, seed: int) -> list[Delivery]:
    """Many repeats: equal ones of either partition's events, and conflicts with the own partition's."""
    chance = random.Random(f"{seed}/{partition}")
    told: list[Delivery] = []
    own: list[UsageEvent] = []
    for number in range(BATCHES * WIDTH):
        if own and chance.random() < 0.1:
            told.append((_told(chance.choice((partition, 1 - partition)), chance.randrange(number)), False))
        elif own and chance.random() < 0.02:
            # Of an event that this partition told before, so that whatever the other one does, the first payload is the kept one.
            again = chance.choice(own)
            told.append((make_event(again.id, customer=again.customer, quantity=again.quantity + 1_000), False))
        else:
            own.append(_told(partition, number))
            told.append((own[-1], number % 20 == 0))
    return told


def _told(partition: int, number: int) -> UsageEvent:
    return make_event(f"{partition}-{number}", customer=f"c{number % 11}", quantity=number % 97)


def main(dsn: str, partition: int, seed: int, folder: Path, deaths: dict[str, list[str]]) -> None:
    """Capture the whole story from where the ledger stands. `deaths` maps a batch's number to a place and a way to die there, once."""
    session = Session(dsn, f"writer-{partition}")
    announced = list(batches(story(partition, seed), WIDTH, partition))
    while True:
        try:
            if session.run(lambda connection: _write(connection, partition, announced, folder, deaths)):
                return
        except (Transient, capture.Fenced):
            continue  # the server restarts, or a lost commit went through after all: the ledger says where to go on


def _write(
    connection: psycopg.Connection, partition: int, announced: list[core.Announced], folder: Path, deaths: dict[str, list[str]]
) -> bool:
    writer = Writer(connection, partition)
    for number in range(writer.positions["progress"], len(announced)):
        place, way = deaths.get(str(number), ["", ""])

        def reached(at: capture.Place, number: int = number, place: str = place, way: str = way) -> None:
            marker = folder / f"died-{partition}-{number}"
            if at.name == place and not marker.exists():
                marker.write_text(way)
                _die(connection, way)

        writer.capture(announced[number], reached=reached)
    return True


def _die(connection: psycopg.Connection, way: str) -> None:
    if way == "client":
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        os.kill(connection.info.backend_pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), json.loads(sys.argv[5]))
