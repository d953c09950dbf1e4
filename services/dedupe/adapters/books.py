"""The progress topic, read back when partitions are gained."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from services.dedupe.adapters.answers import offset_of
from services.dedupe.adapters.ends import KafkaEnds
from services.dedupe.config import GROUP, Settings
from trueup.contracts.codec import decode_progress
from trueup.contracts.errors import Broken, Poison, Transient
from trueup.contracts.progress import ProgressRecord
from trueup.runtime.kafka import client_options, is_fatal


class KafkaBooks:
    """A consumer without a group. It sees committed records only, and knows when an open transaction hides more."""

    def __init__(self, settings: Settings, topic: str, ends: KafkaEnds, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Make the client; it fetches only inside `read`. `monotonic` counts seconds."""
        self._topic = topic
        self._monotonic = monotonic
        self._ends = ends
        self._consumer = Consumer(
            {
                **client_options(settings),
                "group.id": f"{settings.topic_prefix}{GROUP}.books",  # never joined: the client insists on a name
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                # What retention deletes while it is being read is too old to matter.
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
            }
        )

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset kept and the offset behind the last."""
        return self._ends.bounds_of(self._topic, partition)

    def read(self, partition: int, first: int, last: int, wait_seconds: float) -> list[ProgressRecord]:
        """The committed records in [first, last); Transient when for this time nothing more of it could be seen.

        However long a range is, it ends: what takes long is no reason to read it again from its beginning.
        """
        give_up_at = self._monotonic() + wait_seconds
        found: list[ProgressRecord] = []
        reached = first
        self._consumer.assign([TopicPartition(self._topic, partition, first)])
        try:
            while self._monotonic() < give_up_at:
                before = reached
                for message in self._consumer.consume(500, 0.1):
                    reached = max(reached, self._take(message, last, found))
                    if reached >= last:
                        return found
                if reached > before:
                    give_up_at = self._monotonic() + wait_seconds
            raise Transient(f"{self._topic}/{partition} can be read up to {reached} of {last}: an open transaction, or no answer")
        finally:
            self._consumer.unassign()

    def _take(self, message: Message, last: int, found: list[ProgressRecord]) -> int:
        """Keeps a record of the range and says up to which offset everything has been seen."""
        error = message.error()
        if error is None:
            if offset_of(message) < last:
                found.append(self._decoded(message))
            return offset_of(message) + 1
        if error.code() == KafkaError._PARTITION_EOF:
            # Under read_committed the end is where the first open transaction begins.
            return offset_of(message)
        if is_fatal(error):
            raise KafkaException(error)
        return -1

    def _decoded(self, message: Message) -> ProgressRecord:
        try:
            return decode_progress(message.value() or b"")
        except Poison as poison:
            raise Broken(f"{self._topic} {message.partition()}:{offset_of(message)}: {poison}") from poison

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close()
