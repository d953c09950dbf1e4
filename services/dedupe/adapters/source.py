"""The usage topic through a librdkafka consumer, as a static member of the room's group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import (
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from services.dedupe.adapters.answers import failure_of, may_be_asked_again, offset_of
from services.dedupe.config import GROUP, Settings
from services.dedupe.core.records import Headers, Record
from services.dedupe.ports import Fetched, Membership
from trueup.contracts.errors import Broken, Transient
from trueup.runtime import log
from trueup.runtime.kafka import consumer_options, is_fatal

GATHER_SECONDS = 0.05
"""How long a batch that has begun waits for more: the price in delay of fewer, larger transactions."""

_TYPE_NAMES = {TIMESTAMP_CREATE_TIME: "CreateTime", TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}
_LOST_POSITION = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


class KafkaSource:
    """Eager rebalancing: every generation of the group says whole who has what.

    Under cooperative rebalancing a generation may leave partitions out, for the members to ask again once they were given up.
    A static member that is killed in between comes back into its half of that generation, and nobody ever asks.
    """

    def __init__(self, settings: Settings, topic: str, simulated: bool) -> None:
        """Make the client; it joins with `subscribe`."""
        self._topic = topic
        # The street's simulated arrivals stand in the records themselves; everywhere else only the broker's own word counts.
        self._timestamp_type = TIMESTAMP_CREATE_TIME if simulated else TIMESTAMP_LOG_APPEND_TIME
        self._moved: set[int] = set()
        self._log = log.get(__name__)
        options = consumer_options(settings, GROUP, partition_eof=True)
        self._consumer = Consumer(
            {
                **options,
                # An end of partition is reported by the fetch after the last record: half a second later with the default.
                "fetch.wait.max.ms": 50,
                # Twelve partitions of the default 64 MB each would be read ahead into memory.
                "queued.max.messages.kbytes": 32_768,
            }
        )

    def subscribe(self, gained: Callable[[Sequence[int]], Mapping[int, int]], gone: Callable[[Sequence[int]], None]) -> None:
        """Joins the group."""

        def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            numbers = [partition.partition for partition in partitions]
            self._moved.update(numbers)
            offsets = gained(numbers)
            consumer.assign([self._at(number, offsets[number]) for number in numbers])

        def on_gone(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
            numbers = [partition.partition for partition in partitions]
            self._moved.update(numbers)
            gone(numbers)

        self._consumer.subscribe([self._topic], on_assign=on_assign, on_revoke=on_gone, on_lost=on_gone)

    def read(self, most: int, wait_seconds: float) -> Fetched:
        """The next records; assignments change inside this call and nowhere else."""
        fetched = Fetched()
        first = self._consumer.consume(1, wait_seconds)
        if not first:
            return fetched
        # Whatever moved so far moved before the one message in hand was fetched. What moves from here on may leave messages
        # from before and after the move in one list.
        self._moved.clear()
        for message in [*first, *self._consumer.consume(max(1, most - 1), GATHER_SECONDS)]:
            self._sort(message, fetched)
        fetched.unsettled.update(self._moved)
        return fetched

    def _sort(self, message: Message, fetched: Fetched) -> None:
        error = message.error()
        if error is not None:
            self._sort_error(message, error, fetched)
            return
        # The client's types hold both to be missing on a message that was not read; here the hot path spares the question.
        partition: int = message.partition()  # type: ignore[assignment]
        offset: int = message.offset()  # type: ignore[assignment]
        timestamp_type, arrival_ms = message.timestamp()
        if timestamp_type != self._timestamp_type:
            raise Broken(
                f"{self._topic} {partition}:{offset} has timestamp type {_TYPE_NAMES.get(timestamp_type, 'none')}, "
                f"not {_TYPE_NAMES[self._timestamp_type]}: its arrival is not known"
            )
        record = Record(offset, arrival_ms, message.key(), message.value(), _headers(message))
        fetched.records.setdefault(partition, []).append(record)

    def _sort_error(self, message: Message, error: KafkaError, fetched: Fetched) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            fetched.ends[message.partition()] = offset_of(message)  # type: ignore[index]
        elif error.code() in _LOST_POSITION:
            raise Broken(f"{self._topic} {message.partition()}: records were deleted before they were read ({error.str()})")
        elif is_fatal(error):
            raise KafkaException(error)
        else:
            self._log.warning("the source answered with an error, reading goes on", error=error.name(), detail=error.str())

    def committed(self, partitions: Sequence[int], wait_seconds: float) -> Mapping[int, int | None]:
        """The group's committed offsets. Under read_committed the coordinator holds the answer back while an offset is pending."""
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        try:
            answers = self._consumer.committed(asked, timeout=wait_seconds)
        except KafkaException as failure:
            self._later(failure_of(failure), failure)
            raise
        for answer in answers:
            if answer.error is not None:
                self._later(answer.error)
                raise KafkaException(answer.error)
        return {answer.partition: None if answer.offset == OFFSET_INVALID else answer.offset for answer in answers}

    def _later(self, error: KafkaError, failure: KafkaException | None = None) -> None:
        if may_be_asked_again(error):
            raise Transient(f"the group's committed offsets: {error.name()}: {error.str()}") from failure

    def rewind(self, offsets: Mapping[int, int]) -> None:
        """Seeks; what was fetched from before is dropped by the client."""
        for partition, offset in offsets.items():
            self._consumer.seek(self._at(partition, offset))

    def _at(self, partition: int, offset: int) -> TopicPartition:
        return TopicPartition(self._topic, partition, offset)

    def membership(self) -> Membership:
        """Member and generation as they are now. A generation newer than the assignment cannot be: it waits for the callbacks."""
        return Membership(self._consumer.consumer_group_metadata())

    def close(self) -> None:
        """Ends the fetching. A static member does not leave: started again in time, it finds its partitions waiting."""
        self._consumer.close()


def _headers(message: Message) -> Headers:
    """The record's headers; none where a name is not UTF-8, which the client answers with an error that is not to be asked twice.

    Headers bear nothing that is billed, so the event itself goes on; the source topic still has them.
    """
    try:
        headers = message.headers()
    except SystemError:
        return ()
    return tuple(headers) if headers else ()  # type: ignore[arg-type]
