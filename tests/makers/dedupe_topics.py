"""Writes to the topics in front of the dedupe room and reads those behind it, with clients of its own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from services.dedupe.config import GROUP
from trueup.contracts.catalogue import CatalogueVersion
from trueup.contracts.codec import decode_progress, encode_catalogue_version
from trueup.contracts.progress import ProgressRecord, Tally
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import OffsetsReader, admin, producer_options, transactional_producer_options
from trueup.runtime.settings import StreetSettings

READ_SECONDS = 60.0

CATALOGUE = """
[meter.tokens]
unit = "token"
billing_window = "PT45M"
stripe_event_name = "tokens"
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A record as a reader behind the room sees it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]

    @property
    def source(self) -> tuple[int, int]:
        """Where the record stood on the usage topic."""
        partition, offset = self.headers["trueup-source"].split(b":")
        return int(partition), int(offset)


class Topics:
    """The topics of one test."""

    def __init__(self, settings: StreetSettings) -> None:
        """Make the clients."""
        self.settings = settings
        self.names = TopicNames(settings.topic_prefix)
        # Records over 1 MB are what some tests are about.
        self.producer = Producer({**producer_options(settings), "linger.ms": 5, "message.max.bytes": 50_000_000})
        self.ends = OffsetsReader(settings)
        self._stable = Consumer(
            {"bootstrap.servers": settings.kafka_bootstrap, "group.id": "test-stable", "isolation.level": "read_committed"}
        )
        self.failed: list[str] = []

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.failed.append(error.str())

    def apply_catalogue(self, text: str = CATALOGUE, version: int = 1, append_ms: int = 0) -> None:
        """Puts a catalogue version on its topic."""
        value = encode_catalogue_version(CatalogueVersion(version, text, "test"))
        self.producer.produce(self.names.catalogue, value=value, key=str(version).encode(), timestamp=append_ms)
        assert self.producer.flush(30) == 0

    def publish(
        self,
        value: bytes | None,
        partition: int,
        at_ms: int = 0,
        headers: Iterable[tuple[str, bytes]] = (),
        key: bytes | None = b"acme",
    ) -> None:
        """Queues a record; `flush` sees it through."""
        while True:
            try:
                self.producer.produce(
                    self.names.usage_events, value, key, partition, self._delivered, timestamp=at_ms, headers=list(headers)
                )
                return
            except BufferError:
                self.producer.poll(0.1)

    def publish_in_transaction(self, value: bytes, partition: int, *, abort: bool = False) -> None:
        """As a service that publishes exactly once: behind its record stands the marker of its transaction."""
        producer = Producer(transactional_producer_options(self.settings, "test-service"))
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(self.names.usage_events, value, b"acme", partition)
        if abort:
            producer.flush(30)
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)

    def flush(self) -> None:
        """Until the broker has everything."""
        assert self.producer.flush(60) == 0
        assert not self.failed, self.failed

    def read(self, topic: str, partition: int, isolation: str = "read_committed") -> list[Found]:
        """Everything that is on a partition now, from its start to the end that is asked for first."""
        return [_found(message) for message in self._messages(topic, partition, isolation)]

    def read_all(self, topic: str) -> list[Found]:
        """Every partition's committed records."""
        return [found for partition in range(self.settings.partitions) for found in self.read(topic, partition)]

    def progress(self, partition: int) -> list[ProgressRecord]:
        """The partition's committed progress records, in the order of their topic."""
        return [decode_progress(found.value or b"") for found in self.read(self.names.progress, partition)]

    def _messages(self, topic: str, partition: int, isolation: str) -> list[Message]:
        end = self._stable_end(topic, partition) if isolation == "read_committed" else self.ends.low_and_high(topic, partition)[1]
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.kafka_bootstrap,
                "group.id": "test-reader",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
            }
        )
        consumer.assign([TopicPartition(topic, partition, 0)])
        messages: list[Message] = []
        give_up_at = time.monotonic() + READ_SECONDS
        try:
            while True:
                assert time.monotonic() < give_up_at, f"{topic}/{partition} could not be read up to {end}"
                for message in consumer.consume(10_000, 0.1):
                    error = message.error()
                    if error is None:
                        messages.append(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        if (message.offset() or 0) >= end:
                            return messages
                    else:
                        raise KafkaException(error)
        finally:
            consumer.close()

    def open_transactions(self) -> set[tuple[str, int]]:
        """Partitions behind the room where an open transaction holds readers up: what is written there ends after what can be read."""
        return {
            (topic, partition)
            for topic in (self.names.on_time, self.names.progress)
            for partition in range(self.settings.partitions)
            if self._stable_end(topic, partition) < self.ends.low_and_high(topic, partition)[1]
        }

    def _stable_end(self, topic: str, partition: int) -> int:
        """Up to where readers of committed records see everything: an open transaction holds it back."""
        answer = self._stable.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        assert answer is not None
        return answer[1]

    def commit_by_hand(self, partition: int, offset: int) -> None:
        """Moves the room's group, as an operator could."""
        member = Consumer(
            {"bootstrap.servers": self.settings.kafka_bootstrap, "group.id": f"{self.names.prefix}{GROUP}", "enable.auto.commit": False}
        )
        moved = [TopicPartition(self.names.usage_events, partition, offset)]
        # The killed worker's session has to end first: a group with members takes no offsets from outside.
        give_up_at = time.monotonic() + READ_SECONDS
        while True:
            try:
                member.commit(offsets=moved, asynchronous=False)
                break
            except KafkaException:
                assert time.monotonic() < give_up_at
                time.sleep(0.5)
        member.close()

    def delete_records(self, partition: int, before: int) -> None:
        """As retention would."""
        # The client has to outlive its answers.
        client = admin(self.settings)
        for future in client.delete_records([TopicPartition(self.names.usage_events, partition, before)]).values():
            future.result()

    def unread(self) -> int:
        """How many offsets of the usage topic no committed progress record covers yet."""
        left = 0
        for partition in range(self.settings.partitions):
            _, high = self.ends.low_and_high(self.names.usage_events, partition)
            done = self.progress(partition)
            left += high - (done[-1].next_offset if done else 0)
        return left

    def check_chain(self) -> dict[str, Tally]:
        """That every partition's progress records join without gap or overlap up to its end; their sums by outcome."""
        sums = dict.fromkeys(("arrived", "on_time", "late", "duplicate", "refused"), Tally(0, 0, 0))
        for partition in range(self.settings.partitions):
            expected = 0
            for record in self.progress(partition):
                assert record.first_offset == expected, f"partition {partition}: {record.first_offset} after {expected}"
                expected = record.next_offset
                for outcome in sums:
                    sums[outcome] += getattr(record, outcome)
            assert expected == self.ends.low_and_high(self.names.usage_events, partition)[1], f"partition {partition} stands at {expected}"
        assert sums["arrived"] == sums["on_time"] + sums["late"] + sums["duplicate"] + sums["refused"]
        return sums


def _found(message: Message) -> Found:
    headers = dict(message.headers() or [])
    return Found(message.partition() or 0, message.offset() or 0, message.key(), message.value(), headers)  # type: ignore[arg-type]
