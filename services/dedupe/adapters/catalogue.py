"""The catalogue's topic, read to an end that is asked for anew each time."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from services.dedupe.adapters.answers import offset_of
from services.dedupe.adapters.ends import KafkaEnds
from services.dedupe.config import GROUP, Settings
from trueup.contracts.catalogue import CatalogueError, Timeline, parse
from trueup.contracts.codec import decode_catalogue_version
from trueup.contracts.errors import Broken, Poison, Transient
from trueup.runtime.kafka import client_options, is_fatal

READ_SECONDS = 5.0


class KafkaCatalogue:
    """One partition, from its first record on, without a group."""

    def __init__(self, settings: Settings, topic: str, ends: KafkaEnds) -> None:
        """Make the client and begin at the first version."""
        self._topic = topic
        self._ends = ends
        self._timeline = Timeline()
        self._seen = 0
        self._consumer = Consumer(
            {
                **client_options(settings),
                "group.id": f"{settings.topic_prefix}{GROUP}.catalogue",  # never joined: the client insists on a name
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
        self._consumer.assign([TopicPartition(topic, 0, 0)])

    def timeline(self) -> Timeline:
        """Every version up to an end asked for in this call; Transient when it could not be reached."""
        _, end = self._ends.bounds_of(self._topic, 0)
        give_up_at = time.monotonic() + READ_SECONDS
        while self._seen < end:
            if time.monotonic() > give_up_at:
                raise Transient(f"{self._topic} was read up to {self._seen}, and ends at {end}")
            for message in self._consumer.consume(100, 0.1):
                self._take(message)
        return self._timeline

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self._add(message)
            self._seen = max(self._seen, offset_of(message) + 1)
        elif error.code() == KafkaError._PARTITION_EOF:
            self._seen = max(self._seen, offset_of(message))
        elif is_fatal(error):
            raise KafkaException(error)

    def _add(self, message: Message) -> None:
        try:
            version = decode_catalogue_version(message.value() or b"")
            catalogue = parse(version.content_toml)
        except (Poison, CatalogueError) as fault:
            raise Broken(f"{self._topic} 0:{offset_of(message)}: {fault}") from fault
        _, append_ms = message.timestamp()
        self._timeline = self._timeline.with_version(version.version, append_ms, catalogue)

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close()
