"""Where the source topic ends right now, asked beside the event loop."""

from __future__ import annotations

import asyncio
import threading

from confluent_kafka import KafkaException

from services.ingest.config import Settings
from trueup.contracts.errors import Transient
from trueup.contracts.keys import partition_of
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import OffsetsReader

ANSWER_SECONDS = 5.0


class SourceEnds:
    """One client, asked by one at a time."""

    def __init__(self, settings: Settings) -> None:
        self._topic = TopicNames(settings.topic_prefix).usage_events
        self._partitions = settings.partitions
        self._reader = OffsetsReader(settings)
        self._one = threading.Lock()

    async def end_for(self, customer: str) -> tuple[int, int]:
        """The partition of a customer's usage, and the offset that its next record will get."""
        partition = partition_of(customer.encode(), self._partitions)
        return partition, await asyncio.to_thread(self._ask, partition)

    def stop(self) -> None:
        """Close the connections."""
        with self._one:
            self._reader.close()

    def _ask(self, partition: int) -> int:
        try:
            with self._one:
                _, end = self._reader.low_and_high(self._topic, partition, ANSWER_SECONDS)
        except KafkaException as fault:
            raise Transient(f"{self._topic}/{partition}: {fault}") from fault
        return end
