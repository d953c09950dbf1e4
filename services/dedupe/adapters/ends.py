"""Where partitions begin and end right now, asked by a client that fetches nothing."""

from __future__ import annotations

from confluent_kafka import KafkaException

from services.dedupe.config import Settings
from trueup.contracts.errors import Transient
from trueup.runtime.kafka import OffsetsReader

ANSWER_SECONDS = 5.0


class KafkaEnds:
    """Half a millisecond an answer; a broker that does not answer is a reason to ask again, not to end."""

    def __init__(self, settings: Settings, topic: str) -> None:
        """Make the client."""
        self._topic = topic
        self.reader = OffsetsReader(settings)

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset kept of a source partition, and the offset its next record will get."""
        return self.bounds_of(self._topic, partition)

    def bounds_of(self, topic: str, partition: int) -> tuple[int, int]:
        """The same of any topic."""
        try:
            return self.reader.low_and_high(topic, partition, ANSWER_SECONDS)
        except KafkaException as failure:
            raise Transient(f"{topic}/{partition}: {failure}") from failure

    def close(self) -> None:
        """Closes the connections."""
        self.reader.close()
