"""Where capture has told its group that the ledger stands: kept by Kafka, outside the ledger, and so not restored with it."""

from __future__ import annotations

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from services.stripe_sink.config import CAPTURE_GROUP, Settings
from trueup.contracts.topics import DEDUPE_GROUP, TopicNames
from trueup.runtime import log
from trueup.runtime.kafka import consumer_options

ANSWER_SECONDS = 5.0


def shown_positions(settings: Settings) -> dict[int, int]:
    """The group's offsets on the progress topic, by partition; KafkaException while nobody says."""
    return _committed(settings, CAPTURE_GROUP, TopicNames(settings.topic_prefix).progress)


def decided_positions(settings: Settings) -> dict[int, int] | None:
    """The dedupe room's offsets on the source topic, by partition; None while nobody says, which is logged."""
    try:
        return _committed(settings, DEDUPE_GROUP, TopicNames(settings.topic_prefix).usage_events)
    except KafkaException as failure:
        log.get("capture").warning("what dedupe has decided is not known", why=str(failure))
        return None


def _committed(settings: Settings, group: str, topic: str) -> dict[int, int]:
    consumer = Consumer(consumer_options(settings, group))
    try:
        answers = consumer.committed([TopicPartition(topic, partition) for partition in range(settings.partitions)], timeout=ANSWER_SECONDS)
    finally:
        consumer.close()
    for answer in answers:
        if answer.error is not None:
            raise KafkaException(answer.error)
    return {answer.partition: answer.offset for answer in answers if answer.offset != OFFSET_INVALID}
