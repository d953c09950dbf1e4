"""The catalogue's topic, followed from its first version on to an end that is asked for anew each time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from services.stripe_sink.config import CAPTURE_GROUP, Settings
from trueup.contracts.catalogue import CatalogueVersion
from trueup.contracts.codec import decode_catalogue_version
from trueup.contracts.errors import Broken, Poison, Transient
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import OffsetsReader, client_options, is_fatal

READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Appended:
    """A version and its append time."""

    append_ms: int
    version: CatalogueVersion


class CatalogueTopic:
    """One partition, read without a group."""

    def __init__(self, settings: Settings, ends: OffsetsReader) -> None:
        """Begin at the first version."""
        self.topic = TopicNames(settings.topic_prefix).catalogue
        self.seen = 0
        self._ends = ends
        self._consumer = Consumer(
            {
                **client_options(settings),
                "group.id": f"{settings.topic_prefix}{CAPTURE_GROUP}.catalogue",  # never joined: the client insists on a name
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
        self._consumer.assign([TopicPartition(self.topic, 0, 0)])

    def read_on(self) -> list[Appended]:
        """The versions since the last call, up to an end asked for in this one; Transient when it was not reached."""
        try:
            _, end = self._ends.low_and_high(self.topic, 0)
        except KafkaException as failure:
            raise Transient(f"{self.topic}: {failure}") from failure
        found: list[Appended] = []
        give_up_at = time.monotonic() + READ_SECONDS
        while self.seen < end:
            if time.monotonic() > give_up_at:
                raise Transient(f"{self.topic} was read up to {self.seen}, and ends at {end}")
            for message in self._consumer.consume(100, 0.1):
                self._take(message, found)
        return found

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close()

    def _take(self, message: Message, found: list[Appended]) -> None:
        error, offset = message.error(), message.offset()
        if error is None:
            _, append_ms = message.timestamp()
            try:
                found.append(Appended(append_ms, decode_catalogue_version(message.value() or b"")))
            except Poison as fault:
                raise Broken(f"{self.topic} 0:{offset}: {fault}") from fault
            self.seen = max(self.seen, (offset or 0) + 1)
        elif error.code() == KafkaError._PARTITION_EOF:
            self.seen = max(self.seen, offset or 0)
        elif is_fatal(error):
            raise KafkaException(error)
