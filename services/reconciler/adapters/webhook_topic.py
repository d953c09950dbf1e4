"""Stripe's notifications as the door left them on their topic: read as a member of a group, committed after they are kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from trueup.contracts.codec import decode_webhook
from trueup.contracts.errors import Poison, Restart, Transient
from trueup.contracts.topics import TopicNames
from trueup.contracts.webhooks import StripeWebhook
from trueup.runtime import log
from trueup.runtime.kafka import OffsetsReader, consumer_options, is_fatal
from trueup.runtime.settings import StreetSettings

GROUP = "trueup.reconciler"
_LOST_POSITION = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


@dataclass(slots=True)
class Received:
    """What one read gave: notifications, how many records were none, and up to where each partition was read."""

    webhooks: list[StripeWebhook] = field(default_factory=list)
    unreadable: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    reached: dict[int, int] = field(default_factory=dict)


class WebhookTopic:
    """A member of the group. What was read and not committed comes again: keeping it twice changes nothing."""

    def __init__(self, settings: StreetSettings) -> None:
        self.topic = TopicNames(settings.topic_prefix).webhooks
        self._partitions = settings.partitions
        self._ends = OffsetsReader(settings)
        self._log = log.get("webhooks")
        self._consumer = Consumer({**consumer_options(settings, GROUP, partition_eof=True), "fetch.wait.max.ms": 50})
        self._assigned: frozenset[int] = frozenset()
        self._reached: dict[int, int] = {}
        self._consumer.subscribe([self.topic], on_assign=self._on_assign, on_revoke=self._on_gone, on_lost=self._on_gone)

    def read(self, wait_seconds: float, most: int = 500) -> Received:
        """The next notifications; Restart when the client is dead, as one that slept while another took its name."""
        received = Received()
        for message in self._consumer.consume(most, wait_seconds):
            self._take(message, received)
        return received

    def commit(self, received: Received) -> None:
        """Say that these were kept; Transient or Restart when the broker did not take it, and they come again."""
        # Not sooner: until then the room is not at rest.
        self._reached |= received.reached
        if not received.positions:
            return
        offsets = [TopicPartition(self.topic, partition, position) for partition, position in received.positions.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as failure:
            again = Restart if is_fatal(failure.args[0]) else Transient
            raise again(f"{self.topic}: {failure}") from failure

    def behind(self) -> str:
        """Why reading is not at the end of the topic as it is now; empty when it is."""
        if len(self._assigned) < self._partitions:
            return "the webhooks' partitions are not all assigned"
        try:
            for partition in self._assigned:
                if self._ends.low_and_high(self.topic, partition)[1] != self._reached.get(partition):
                    return f"{self.topic} {partition} goes on"
        except KafkaException as failure:
            return f"the broker does not say where topics end: {failure}"
        return ""

    def close(self) -> None:
        """End the connections."""
        self._consumer.close()
        self._ends.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """A new group begins at the beginning: every notification that is kept is evidence."""
        committed = consumer.committed(partitions, timeout=10)
        consumer.assign(
            [TopicPartition(at.topic, at.partition, at.offset if at.offset >= 0 else OFFSET_BEGINNING) for at in committed or partitions]
        )
        self._reached.clear()
        self._assigned = frozenset(at.partition for at in partitions)

    def _on_gone(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._assigned = frozenset()
        consumer.unassign()

    def _take(self, message: Message, received: Received) -> None:
        partition, offset, error = message.partition(), message.offset(), message.error()
        if error is not None:
            self._take_error(message, error, received)
        elif partition is not None and offset is not None:
            received.positions[partition] = offset + 1
            received.reached[partition] = offset + 1
            try:
                received.webhooks.append(decode_webhook(message.value() or b""))
            except Poison as fault:
                received.unreadable += 1
                self._log.error("a record is no notification", partition=partition, offset=offset, why=str(fault))

    def _take_error(self, message: Message, error: KafkaError, received: Received) -> None:
        partition, offset = message.partition(), message.offset()
        if error.code() == KafkaError._PARTITION_EOF and partition is not None and offset is not None:
            received.reached[partition] = offset
        elif error.code() in _LOST_POSITION and partition is not None:
            # Notifications were deleted unread; polling brings what Stripe still lists.
            self._log.error("notifications were deleted before they were read", partition=partition, why=error.str())
            self._consumer.seek(TopicPartition(self.topic, partition, OFFSET_BEGINNING))
        elif is_fatal(error):
            raise Restart(f"{self.topic}: {error.str()}")
        else:
            self._log.warning("the topic answered with an error, reading goes on", error=error.name(), detail=error.str())
