"""The catalogue's topic, followed from its first version on to an end that is asked for anew each time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from trueup.contracts.catalogue import Catalogue, CatalogueError, CatalogueVersion, parse
from trueup.contracts.codec import decode_catalogue_version
from trueup.contracts.errors import Broken, Poison, Transient
from trueup.contracts.topics import TopicNames
from trueup.runtime import log
from trueup.runtime.kafka import OffsetsReader, client_options, is_fatal
from trueup.runtime.settings import StreetSettings

READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Appended:
    """A version, its append time, and what it says."""

    append_ms: int
    version: CatalogueVersion
    content: Catalogue


class CatalogueTopic:
    """One partition, read without a group.

    Of several records under one number the first is that version, for everybody alike: two people applied one at the same time, and the
    command told the second of them that it is not in force.
    """

    def __init__(self, settings: StreetSettings, group: str, ends: OffsetsReader) -> None:
        """Begin at the first version; `group` only names the reader."""
        self.topic = TopicNames(settings.topic_prefix).catalogue
        self.seen = 0
        self._ends = ends
        self._taken: list[Appended] = []
        self._newest: CatalogueVersion | None = None
        self._log = log.get("catalogue")
        self._consumer = Consumer(
            {
                **client_options(settings),
                "group.id": f"{settings.topic_prefix}{group}.catalogue",  # never joined: the client insists on a name
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
        self._consumer.assign([TopicPartition(self.topic, 0, 0)])

    def read_on(self, timeout_seconds: float = READ_SECONDS) -> list[Appended]:
        """The versions since the last call, up to an end asked for in this one; Transient when it was not reached."""
        try:
            _, end = self._ends.low_and_high(self.topic, 0, timeout_seconds)
        except KafkaException as failure:
            raise Transient(f"{self.topic}: {failure}") from failure
        give_up_at = time.monotonic() + timeout_seconds
        while self.seen < end:
            # Half of what there is decides nothing; what was read so far is given with the rest, by a later call.
            if time.monotonic() > give_up_at:
                raise Transient(f"{self.topic} was read up to {self.seen}, and ends at {end}")
            for message in self._consumer.consume(100, 0.1):
                self._take(message)
        found, self._taken = self._taken, []
        return found

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close()

    def _add(self, append_ms: int, version: CatalogueVersion) -> None:
        newest = self._newest
        if newest is None or version.version > newest.version:
            self._taken.append(Appended(append_ms, version, parse(version.content_toml)))
            self._newest = version
        elif (version.version, version.content_toml) != (newest.version, newest.content_toml):
            self._log.error(
                "a catalogue under a number that another one has is passed over", version=version.version, by=version.applied_by
            )

    def _take(self, message: Message) -> None:
        error, offset = message.error(), message.offset()
        if error is None:
            _, append_ms = message.timestamp()
            try:
                version = decode_catalogue_version(message.value() or b"")
                self._add(append_ms, version)
            except (Poison, CatalogueError) as fault:
                raise Broken(f"{self.topic} 0:{offset}: {fault}") from fault
            self.seen = max(self.seen, (offset or 0) + 1)
        elif error.code() == KafkaError._PARTITION_EOF:
            self.seen = max(self.seen, offset or 0)
        elif is_fatal(error):
            raise KafkaException(error)
