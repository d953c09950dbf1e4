"""Where the topics that capture reads begin and end right now."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaException

from services.stripe_sink.adapters.capture_topics import At
from services.stripe_sink.core.inflow import Kind
from trueup.contracts.errors import Transient
from trueup.runtime.kafka import OffsetsReader


class CaptureEnds:
    """Asks the brokers; fetches nothing. Transient while they do not say."""

    def __init__(self, reader: OffsetsReader, topics: Mapping[Kind, str]) -> None:
        self._reader = reader
        self._topics = topics

    def beginnings(self, partition: int) -> dict[Kind, int]:
        """The first offset that is kept of each topic."""
        return {kind: self._ask(name, partition)[0] for kind, name in self._topics.items()}

    def read_to_their_ends(self, partition: int, read_to: Mapping[At, int]) -> set[Kind]:
        """Topics of which everything has been read that was committed before this was asked; `read_to` are the ends that were met."""
        met = {kind: read_to.get((kind, partition)) for kind in self._topics}
        return {kind for kind, end in met.items() if end is not None and self._ask(self._topics[kind], partition)[1] == end}

    def _ask(self, topic: str, partition: int) -> tuple[int, int]:
        try:
            return self._reader.low_and_high(topic, partition)
        except KafkaException as failure:
            raise Transient(f"the broker does not say where {topic} begins and ends: {failure}") from failure
