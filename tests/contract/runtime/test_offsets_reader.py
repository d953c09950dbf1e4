"""Where partitions end, asked of a real broker by a client that has heard something else before."""

from __future__ import annotations

from contextlib import closing

import pytest
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import NewTopic

from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, OffsetsReader, admin
from trueup.runtime.settings import StreetSettings


def test_a_client_that_once_heard_of_no_partition_asks_anew(kafka_settings: StreetSettings) -> None:
    """A broker that stood still leads nothing for a moment; who asked just then went on saying so, and the room stood still for it."""
    name = f"{kafka_settings.topic_prefix}appears-later"
    with closing(OffsetsReader(kafka_settings)) as reader:
        with pytest.raises(KafkaException):
            reader.low_and_high(name, 0, timeout_seconds=2.0)
        client = admin(kafka_settings)
        for future in client.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)]).values():
            future.result(30)
        assert reader.low_and_high(name, 0) == (0, 0)


def test_a_client_that_lost_its_brokers_is_not_asked_again(kafka_settings: StreetSettings) -> None:
    """A room went on hearing that all brokers were down, minutes after they were back: its client never found them again."""
    name = f"{kafka_settings.topic_prefix}there"
    client = admin(kafka_settings)
    for future in client.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)]).values():
        future.result(30)
    with closing(OffsetsReader(kafka_settings)) as reader:
        # A client that will never reach anybody stands for one that does not find its brokers again.
        reader._consumer = Consumer({**reader._options, "bootstrap.servers": "127.0.0.1:9"})
        reader._born -= REQUEST_TIMEOUT_SECONDS
        with pytest.raises(KafkaException):
            reader.low_and_high(name, 0, timeout_seconds=1.0)
        assert reader.low_and_high(name, 0) == (0, 0)


def test_who_waits_for_a_moment_only_leaves_a_client_the_time_to_find_its_brokers(kafka_settings: StreetSettings) -> None:
    """A question of half a second is shorter than a client's first connection may take: a new one each time would never find anybody."""
    with closing(OffsetsReader(kafka_settings)) as reader:
        stranger = Consumer({**reader._options, "bootstrap.servers": "127.0.0.1:9"})
        reader._consumer = stranger
        for _ in range(2):
            with pytest.raises(KafkaException):
                reader.low_and_high("anything", 0, timeout_seconds=0.2)
        assert reader._consumer is stranger
