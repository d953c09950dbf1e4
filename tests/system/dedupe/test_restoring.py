"""A gained partition whose last owner left a transaction open that nobody ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from services.dedupe.adapters.books import KafkaBooks
from services.dedupe.adapters.ends import KafkaEnds
from services.dedupe.adapters.source import KafkaSource
from services.dedupe.app import restoring
from services.dedupe.app.restoring import Restorer
from services.dedupe.config import GROUP, Settings
from trueup.contracts.codec import encode_progress
from trueup.contracts.errors import Transient
from trueup.contracts.progress import ZERO, ProgressRecord
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import consumer_options, producer_options, transactional_producer_options
from trueup.runtime.settings import StreetSettings

OPEN, FREE = 0, 1


@pytest.fixture
def pending(kafka_settings: StreetSettings) -> Iterator[Producer]:
    """Offsets of partition `OPEN`, sent within a transaction that stays open."""
    topic = TopicNames(kafka_settings.topic_prefix).usage_events
    producer = Producer(transactional_producer_options(kafka_settings, "dedupe-of-before"))
    consumer = Consumer(consumer_options(kafka_settings, GROUP))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.send_offsets_to_transaction([TopicPartition(topic, OPEN, 0)], consumer.consumer_group_metadata(), 30)
    yield producer
    consumer.close()


def test_a_wait_that_nobody_ends_ends_the_process(
    kafka_settings: StreetSettings, pending: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it waits for each time it asks again, gives up in the end, and goes on as soon as the transaction is over."""
    monkeypatch.setattr(restoring, "ASK_SECONDS", 0.5)
    monkeypatch.setattr(restoring, "GIVE_UP_SECONDS", 2.0)
    settings = Settings(**kafka_settings.model_dump())
    names = TopicNames(settings.topic_prefix)
    told: list[str] = []
    with ExitStack() as closing:
        ends = KafkaEnds(settings, names.usage_events)
        books = KafkaBooks(settings, names.progress, ends)
        source = KafkaSource(settings, names.usage_events, simulated=False)
        for client in (ends, books, source):
            closing.callback(client.close)
        restorer = Restorer(source, books, ends, told.append, lambda: None)
        assert restorer.restore([FREE], {})[FREE].next_offset == 0
        told.clear()
        with pytest.raises(Transient, match="committed offsets"):
            restorer.restore([OPEN], {})
        assert len(told) >= 2
        pending.abort_transaction(30)
        assert restorer.restore([OPEN], {})[OPEN].next_offset == 0


def test_many_progress_records_are_read_however_long_it_takes(kafka_settings: StreetSettings) -> None:
    """By a clock that goes on a second at each look: it would be over many times, had not each look brought more."""
    settings = Settings(**kafka_settings.model_dump())
    names = TopicNames(settings.topic_prefix)
    many = 60_000
    producer = Producer(producer_options(kafka_settings) | {"queue.buffering.max.messages": many})
    for number in range(many):
        record = ProgressRecord(FREE, number, number + 1, 1, 0, ZERO, ZERO, ZERO, ZERO, ZERO, 0, ())
        producer.produce(names.progress, encode_progress(record), partition=FREE)
    assert producer.flush(60) == 0
    looks = count()
    with ExitStack() as closing:
        ends = KafkaEnds(settings, names.usage_events)
        books = KafkaBooks(settings, names.progress, ends, monotonic=lambda: float(next(looks)))
        for client in (ends, books):
            closing.callback(client.close)
        assert books.bounds(FREE) == (0, many)
        found = books.read(FREE, 0, many, 60.0)
        assert [record.first_offset for record in found] == list(range(many))
        assert next(looks) > 100
        with pytest.raises(Transient, match=f"up to {many} of {many + 1}"):
            books.read(FREE, many - 1, many + 1, 5.0)
