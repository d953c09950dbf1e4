"""Where the source topic ends right now, on every partition."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaException

from trueup.contracts.errors import Transient
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import OffsetsReader
from trueup.runtime.settings import StreetSettings


class SourceEnds:
    """Asks the brokers; fetches nothing."""

    def __init__(self, settings: StreetSettings) -> None:
        self._topic = TopicNames(settings.topic_prefix).usage_events
        self._partitions = settings.partitions
        self._reader = OffsetsReader(settings)

    def ends(self) -> Mapping[int, int]:
        """The offset that the next record of each partition will get; 0 where the topic holds nothing. Transient without an answer."""
        try:
            found = {partition: self._reader.low_and_high(self._topic, partition) for partition in range(self._partitions)}
        except KafkaException as fault:
            raise Transient(f"the broker does not say where {self._topic} ends: {fault}") from fault
        # What was deleted before this ledger began is nobody's to capture.
        return {partition: end if end > low else 0 for partition, (low, end) in found.items()}

    def close(self) -> None:
        """End the connections."""
        self._reader.close()
