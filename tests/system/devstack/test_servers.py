"""The embedded servers keep acknowledged data over kill -9, come back at their old addresses, and mend what a kill leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from devstack.kafka import Kafka
from devstack.postgres import Postgres
from devstack.process import started_at, wait_until
from devstack.supervisor import Supervisor
from trueup.contracts.topics import TopicNames, declared
from trueup.runtime import kafka
from trueup.runtime.settings import StreetSettings


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, print)
    yield supervisor
    supervisor.stop_all()


def kill_and_wait(supervisor: Supervisor, name: str) -> None:
    pid = supervisor.kill(name)
    assert wait_until(lambda: supervisor.status_of(name).pid not in {None, pid}, 30)
    supervisor.wait_ready([name], 60)


def test_postgres_keeps_what_it_committed(supervisor: Supervisor, tmp_path: Path) -> None:
    """Twice in a row, with a transaction open each time."""
    server = Postgres(tmp_path, print)
    supervisor.start([server.part()])
    supervisor.wait_ready(["postgres"], 60)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("create table kept (n integer)")
    for n in range(2):
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("insert into kept values (%s)", (n,))
        open_transaction = psycopg.connect(server.dsn())
        open_transaction.execute("insert into kept values (-1)")
        kill_and_wait(supervisor, "postgres")
        open_transaction.close()
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute("select n from kept order by n").fetchall() == [(0,), (1,)]


def test_postgres_starts_beside_a_backend_that_outlived_its_postmaster(supervisor: Supervisor, tmp_path: Path) -> None:
    """A stopped backend keeps the shared memory: a new server would refuse, or worse, run beside it."""
    server = Postgres(tmp_path, print)
    supervisor.start([server.part()])
    supervisor.wait_ready(["postgres"], 60)
    connection = psycopg.connect(server.dsn(), autocommit=True)
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None
    backend = int(row[0])
    os.kill(backend, signal.SIGSTOP)
    kill_and_wait(supervisor, "postgres")
    assert started_at(backend) is None
    connection.close()


def test_postgres_is_not_held_up_by_a_number_that_was_lent_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """Its lock file may name a process that has nothing to do with it."""
    server = Postgres(tmp_path, print)
    supervisor.start([server.part()])
    supervisor.wait_ready(["postgres"], 60)
    supervisor.stop("postgres")
    # Not a forebear of the server: those it knows to be harmless.
    with subprocess.Popen((sys.executable, "-c", "import time; time.sleep(600)")) as stranger:
        lock = server.folder / "postmaster.pid"
        lock.write_text(f"{stranger.pid}\n{server.folder}\n1\n1\n\n127.0.0.1\n1 1\n")
        supervisor.start_again("postgres")
        supervisor.wait_ready(["postgres"], 60)
        assert supervisor.status_of("postgres").restarts == 0
        stranger.kill()


def test_broker_keeps_what_it_acknowledged(supervisor: Supervisor, tmp_path: Path) -> None:
    """A producer that was writing when the broker was killed goes on, and nothing is missing or twice."""
    broker = Kafka(tmp_path, print)
    supervisor.start([broker.part()])
    supervisor.wait_ready(["kafka"], 240)
    settings = StreetSettings(kafka_bootstrap=broker.bootstrap, room="test")
    kafka.create_missing_topics(settings, declared(simulated=False, partitions=1))
    topic = TopicNames().usage_events
    producer = Producer(kafka.producer_options(settings))
    records = 20_000
    for n in range(records):
        producer.produce(topic, str(n).encode(), partition=0)
        if n == records // 2:
            producer.poll(0.1)
            pid = supervisor.kill("kafka")
    assert producer.flush(120) == 0
    assert supervisor.status_of("kafka").pid != pid
    consumer = Consumer(kafka.consumer_options(settings, "test", partition_eof=True))
    consumer.assign([TopicPartition(topic, 0, 0)])
    seen = []
    while (message := consumer.poll(30)) is not None and message.error() is None:
        seen.append(int(message.value() or b"-1"))
    consumer.close()
    assert seen == list(range(records))


def test_broker_ends_the_transactions_that_a_kill_left_open(supervisor: Supervisor, tmp_path: Path) -> None:
    """Their time ran out while it was away. Kafka 4.3.0 calls them ended without telling their partitions (KAFKA-20734).

    Then no reader gets past them, and the same producer's next commit lets out what was taken back as well.
    """
    broker = Kafka(tmp_path, print)
    supervisor.start([broker.part()])
    supervisor.wait_ready(["kafka"], 240)
    settings = StreetSettings(kafka_bootstrap=broker.bootstrap, room="test")
    partitions = 4
    kafka.create_missing_topics(settings, declared(simulated=False, partitions=partitions))
    topic = TopicNames().usage_events
    # Held until the end: a producer that is given back ends its transaction itself.
    producers = [_with_an_open_transaction(settings, topic, partition) for partition in range(partitions)]
    kill_and_wait(supervisor, "kafka")
    reader = Consumer({**kafka.consumer_options(settings, "test"), "isolation.level": "read_committed"})

    def taken_back(partition: int) -> bool:
        try:
            end = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        except KafkaException as error:
            # A broker that listens again may not lead every partition yet. Anything else is no matter of time.
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                raise
            return False
        # The record, and the mark that its transaction was taken back.
        return end is not None and end[1] >= 2

    def held_up() -> list[int]:
        return [partition for partition in range(partitions) if not taken_back(partition)]

    ended = wait_until(lambda: not held_up(), 30)
    assert ended, f"{len(producers)} transactions were open, those on partitions {held_up()} still are"
    reader.close()


def _with_an_open_transaction(settings: StreetSettings, topic: str, partition: int) -> Producer:
    producer = Producer({**kafka.transactional_producer_options(settings, f"open-{partition}"), "transaction.timeout.ms": 1_000})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"taken back", partition=partition)
    assert producer.flush(1) == 0
    return producer
