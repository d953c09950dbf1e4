"""The four topics of capture through one librdkafka consumer: where it reads is the ledger's to say, never the group's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from services.stripe_sink.config import CAPTURE_GROUP, Settings
from services.stripe_sink.core.inflow import Headers, Kind, Raw
from trueup.contracts.errors import Broken
from trueup.contracts.topics import TopicNames
from trueup.runtime import log
from trueup.runtime.kafka import consumer_options, is_fatal

GATHER_SECONDS = 0.02
"""How long a read that has begun waits for more."""

_LOST_POSITION = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)

At = tuple[Kind, int]


@dataclass(slots=True)
class Fetched:
    """What one read gave: records in the order of each partition, and ends that were reached."""

    records: list[tuple[Kind, int, Raw]] = field(default_factory=list)
    ends: dict[At, int] = field(default_factory=dict)


class CaptureTopics:
    """A static member of the group. Partition n of all four topics comes to the same member: the assignor is `range`.

    An assignment is taken up in two steps: the group says which partitions (`assigned`), the ledger where to read (`begin`).
    """

    def __init__(self, settings: Settings) -> None:
        names = TopicNames(settings.topic_prefix)
        self.topic = {Kind.ON_TIME: names.on_time, Kind.LATE: names.late, Kind.REJECTED: names.rejected, Kind.PROGRESS: names.progress}
        self._kind = {topic: kind for kind, topic in self.topic.items()}
        self._partitions = settings.partitions
        self._log = log.get(__name__)
        self._moved = False
        self.assigned: frozenset[int] | None = None
        self._consumer = Consumer(
            {
                **consumer_options(settings, CAPTURE_GROUP, partition_eof=True),
                # An end of partition is reported by the fetch after the last record: half a second later with the default.
                "fetch.wait.max.ms": 50,
                # Forty-eight partitions of the default 64 MB each would be read ahead into memory.
                "queued.max.messages.kbytes": 16_384,
            }
        )

    def subscribe(self) -> None:
        """Join the group."""

        def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self._moved = True
            self.assigned = self._together(partitions)
            # Taken up without reading anything: where to read comes from the ledger, which may be away just now.
            consumer.assign([])

        def on_gone(consumer: Consumer, _partitions: list[TopicPartition]) -> None:
            self._moved = True
            self.assigned = None
            consumer.unassign()

        self._consumer.subscribe(list(self.topic.values()), on_assign=on_assign, on_revoke=on_gone, on_lost=on_gone)

    def begin(self, positions: Mapping[int, Mapping[Kind, int]]) -> None:
        """Read these partitions from where the ledger stands."""
        begun = [TopicPartition(self.topic[kind], partition, offset) for partition, at in positions.items() for kind, offset in at.items()]
        self._consumer.assign(begun)
        # A pause may outlive the assignment that it was made in.
        self._consumer.resume(begun)

    def read(self, most: int, wait_seconds: float) -> Fetched | None:
        """The next records; assignments change inside this call and nowhere else. None when they did: nothing read before counts.

        KafkaException when the client is dead, which it says once, as a rule together with the loss of its assignment.
        """
        self._moved = False
        first = self._consumer.consume(1, wait_seconds)
        more = self._consumer.consume(most, GATHER_SECONDS) if first else []
        for message in (*first, *more):
            error = message.error()
            if error is not None and is_fatal(error):
                raise KafkaException(error)
        if self._moved:
            # The list may hold records from before and from after the move; all of them are read again from the ledger's positions.
            return None
        fetched = Fetched()
        for message in [*first, *more]:
            self._sort(message, fetched)
        return fetched

    def pause(self, at: Iterable[At]) -> None:
        """Read no further here until `resume`; what was read ahead is given up and read again."""
        self._consumer.pause([TopicPartition(self.topic[kind], partition) for kind, partition in at])

    def resume(self, at: Iterable[At]) -> None:
        """Read on."""
        self._consumer.resume([TopicPartition(self.topic[kind], partition) for kind, partition in at])

    def show_positions(self, partition: int, positions: Mapping[Kind, int]) -> None:
        """Tell the group where the ledger stands: for those who look at lag. Nothing is ever read from there."""
        offsets = [TopicPartition(self.topic[kind], partition, offset) for kind, offset in positions.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as failure:
            self._log.info("positions not shown", partition=partition, why=str(failure))

    def close(self) -> None:
        """Ends the fetching. A static member does not leave: started again in time, it finds its partitions waiting."""
        self._consumer.close()

    def _together(self, partitions: Iterable[TopicPartition]) -> frozenset[int]:
        by_topic: dict[str, set[int]] = {topic: set() for topic in self._kind}
        for partition in partitions:
            by_topic[partition.topic].add(partition.partition)
        numbers = by_topic[self.topic[Kind.PROGRESS]]
        if any(those != numbers for those in by_topic.values()) or max(numbers, default=0) >= self._partitions:
            raise Broken(f"the topics do not have {self._partitions} partitions each: the group gave {by_topic}")
        return frozenset(numbers)

    def _sort(self, message: Message, fetched: Fetched) -> None:
        topic, partition, offset, error = message.topic(), message.partition(), message.offset(), message.error()
        if error is None and topic is not None and partition is not None and offset is not None:
            fetched.records.append((self._kind[topic], partition, Raw(offset, message.value(), _headers(message))))
        elif error is not None:
            self._sort_error(message, error, fetched)

    def _sort_error(self, message: Message, error: KafkaError, fetched: Fetched) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if error.code() == KafkaError._PARTITION_EOF and topic is not None and partition is not None and offset is not None:
            fetched.ends[self._kind[topic], partition] = offset
        elif error.code() in _LOST_POSITION:
            raise Broken(f"{topic} {partition}: records were deleted before they were captured ({error.str()})")
        else:
            self._log.warning("a topic answered with an error, reading goes on", error=error.name(), detail=error.str())


def _headers(message: Message) -> Headers:
    """The last of each name: what dedupe wrote comes after what a producer may have written under the same name."""
    headers = message.headers()
    return dict(headers) if headers else {}  # type: ignore[arg-type]
