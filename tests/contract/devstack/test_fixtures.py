"""The parts that every other test stands on are real, and apart for each test."""

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.conftest import Database, MakeTopics
from trueup.contracts.topics import TopicNames
from trueup.runtime import kafka
from trueup.runtime.settings import StreetSettings


def test_broker_hides_what_was_aborted(kafka_settings: StreetSettings, topics: TopicNames) -> None:
    """This is what no stand-in broker does, and what every claim about delivery rests on."""
    producer = Producer(kafka.transactional_producer_options(kafka_settings, "test"))
    producer.init_transactions()
    for value, commit in ((b"gone", False), (b"kept", True)):
        producer.begin_transaction()
        producer.produce(topics.on_time, value, partition=0)
        producer.flush()
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    consumer = Consumer(kafka.consumer_options(kafka_settings, "test", partition_eof=True))
    consumer.assign([TopicPartition(topics.on_time, 0, 0)])
    seen = []
    while (message := consumer.poll(10)) is not None and message.error() is None:
        seen.append(message.value())
    consumer.close()
    assert seen == [b"kept"]
    reader = kafka.OffsetsReader(kafka_settings)
    assert reader.low_and_high(topics.on_time, 0) == (0, 4)  # two records and two markers
    reader.close()


def test_append_time_is_the_brokers(kafka_settings: StreetSettings, make_topics: MakeTopics) -> None:
    """A producer's claim about arrival counts under the simulated clock only."""
    claimed = 1_000_000_000_000
    for simulated in (False, True):
        names = make_topics(simulated=simulated, partitions=1)
        stamps: list[int] = []
        producer = Producer(kafka.producer_options(kafka_settings))
        producer.produce(
            names.usage_events,
            b"x",
            timestamp=claimed,
            on_delivery=lambda error, message: stamps.append(message.timestamp()[1]),  # noqa: B023
        )
        assert producer.flush(60) == 0
        assert (stamps == [claimed]) is simulated


def test_database_is_the_tests_own(database: Database) -> None:
    """Made from a migrated template, with durability on."""
    with psycopg.connect(database.dsn) as connection:
        assert connection.execute("select count(*) from ledger.account").fetchone() == (12,)
        assert connection.execute("show fsync").fetchone() == ("on",)
    with psycopg.connect(database.writer_dsn) as connection:
        assert connection.execute("select current_user").fetchone() == ("trueup_writer",)


def test_settings_reach_both(settings: StreetSettings) -> None:
    """A room is given these and nothing else."""
    assert settings.postgres_dsn.startswith("postgresql://trueup_writer@127.0.0.1:")
    assert len([name for name in kafka.admin(settings).list_topics(timeout=10).topics if name.startswith(settings.topic_prefix)]) == 8
