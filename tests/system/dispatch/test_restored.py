"""A copy of the ledger's files put back keeps its identity; what Kafka was shown since tells that it is a copy."""

from __future__ import annotations

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from services.stripe_sink.app.restored import RestoredGuard
from services.stripe_sink.config import CAPTURE_GROUP, Settings
from services.stripe_sink.core.restored import behind
from tests.makers.dispatch_world import DispatchWorld
from trueup.contracts.errors import Transient
from trueup.contracts.topics import TopicNames
from trueup.ledger.store.connection import connect
from trueup.ledger.store.dispatch import arming
from trueup.ledger.store.session import Session
from trueup.runtime.settings import StreetSettings

STOOD = 500
POSITION = """insert into ops.source_offset (topic, partition, epoch, next_offset, holder, updated_at)
values (%s, %s, 1, %s, 'test', ops.now())"""


@pytest.mark.parametrize(
    ("shown", "held", "found"),
    [
        ({}, {}, []),
        ({}, {0: 500}, []),
        ({0: 500, 1: 7}, {0: 500, 1: 7}, []),
        ({0: 400}, {0: 500}, []),
        ({0: 501, 1: 7}, {0: 500, 1: 7}, [0]),
        ({2: 1}, {0: 500}, [2]),
        ({2: 0}, {}, []),
    ],
)
def test_only_a_ledger_that_lost_something_is_behind(shown: dict[int, int], held: dict[int, int], found: list[int]) -> None:
    """A group that has forgotten shows less, which says nothing."""
    assert behind(shown, held) == found


@pytest.mark.parametrize(("shown", "armed"), [(STOOD, True), (STOOD - 100, True), (STOOD + 1, False)])
def test_a_ledger_that_went_back_in_time_is_disarmed(
    world: DispatchWorld, kafka_settings: StreetSettings, topics: TopicNames, shown: int, armed: bool
) -> None:
    """With the reason on record; a person may arm it again, and the next start of a room leaves that alone."""
    world.apply("tokens")
    assert world.arm().armed
    settings = Settings(
        kafka_bootstrap=kafka_settings.kafka_bootstrap,
        topic_prefix=kafka_settings.topic_prefix,
        partitions=kafka_settings.partitions,
        postgres_dsn=world.database.writer_dsn,
        room="stripe-sink-1",
    )
    with psycopg.connect(world.database.dsn) as owner:
        owner.execute(POSITION, [topics.progress, 0, STOOD])
    show(settings, topics, shown)
    with connect(world.database.writer_dsn, "test") as connection:
        RestoredGuard(settings)(connection)
        found = arming.status(connection)
    assert found.armed is armed
    assert armed or "restored from a copy" in found.why
    if not armed:
        assert world.arm().armed
        # What capture shows as soon as it has taken the partition over.
        show(settings, topics, STOOD)
        with connect(world.database.writer_dsn, "test") as connection:
            RestoredGuard(settings)(connection)
            assert arming.status(connection).armed


def test_nothing_is_done_while_kafka_does_not_say_what_it_was_shown(world: DispatchWorld) -> None:
    """A guess would be either usage that is sent twice or a ledger that nobody needed to disarm."""
    settings = Settings(kafka_bootstrap="127.0.0.1:1", postgres_dsn=world.database.writer_dsn, room="stripe-sink-1")
    session = Session(world.database.writer_dsn, "test", before_use=RestoredGuard(settings))
    with pytest.raises(Transient, match="not known yet"):
        session.run(arming.status)


def show(settings: Settings, topics: TopicNames, offset: int) -> None:
    """As capture does after a commit."""
    options = {"bootstrap.servers": settings.kafka_bootstrap, "group.id": f"{settings.topic_prefix}{CAPTURE_GROUP}"}
    member = Consumer({**options, "enable.auto.commit": False})
    member.commit(offsets=[TopicPartition(topics.progress, 0, offset)], asynchronous=False)
    member.close()
