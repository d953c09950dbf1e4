"""The declared topics as a real broker has them."""

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]

from trueup.contracts.topics import (
    HEADER_REASON,
    LARGEST_PROGRESS_RECORD_BYTES,
    LARGEST_REJECTED_RECORD_BYTES,
    TopicNames,
    declared,
)
from trueup.runtime import kafka
from trueup.runtime.settings import StreetSettings

MEBIBYTE = 1024 * 1024


def test_the_broker_has_the_settings_that_were_declared(kafka_settings: StreetSettings, topics: TopicNames) -> None:
    """None was misspelt, and none was taken for something else."""
    admin = kafka.admin(kafka_settings)
    for topic in declared(False, kafka_settings.partitions, prefix=topics.prefix):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic.name)
        found = admin.describe_configs([resource])[resource].result()
        assert {key: found[key].value for key in topic.settings} == dict(topic.settings)
        assert len(admin.list_topics(topic.name, timeout=10).topics[topic.name].partitions) == topic.partitions


@pytest.mark.parametrize(
    ("topic", "largest", "size"),
    [
        ("usage_events", 2 * MEBIBYTE, 64 * 1024 + 1),
        ("usage_events", 2 * MEBIBYTE, MEBIBYTE),
        ("rejected", LARGEST_REJECTED_RECORD_BYTES, 2 * MEBIBYTE),
        ("progress", LARGEST_PROGRESS_RECORD_BYTES, 8 * MEBIBYTE),
    ],
)
def test_a_large_record_arrives(kafka_settings: StreetSettings, topics: TopicNames, topic: str, largest: int, size: int) -> None:
    """Uncompressed, as the broker counts it, with headers that say what was wrong; a consumer with default limits gets it."""
    name: str = getattr(topics, topic)
    value = bytes(size)
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": kafka_settings.kafka_bootstrap, "message.max.bytes": largest, "compression.type": "none"})
    producer.produce(
        name,
        value,
        partition=0,
        headers=[(HEADER_REASON, b"too_large"), ("__connect.errors.exception.message", b"x" * 1000)],
        on_delivery=lambda fault, _: failures.append(fault) if fault else None,
    )
    assert producer.flush(30) == 0
    assert failures == []
    consumer = Consumer({"bootstrap.servers": kafka_settings.kafka_bootstrap, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(name, 0, 0)])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None
    assert message.value() == value
