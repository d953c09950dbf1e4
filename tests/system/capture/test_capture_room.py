"""The capture room on a real broker and a real Postgres: whatever is killed or stopped, the books are exact."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from devstack.postgres import Postgres
from devstack.process import spawn, wait_until
from tests.conftest import PARTITIONS, Database
from tests.makers.capture_batches import CATALOGUE_TOML, NOON_MS, make_announced, make_event, make_forwarded
from tests.makers.capture_topics import Announcer, Delivery, Sink, wait_for_all_idle
from tests.makers.ledger_books import assert_books_are, one, rows
from trueup.contracts.events import UsageEvent
from trueup.ledger.migrate import migrate
from trueup.runtime.settings import StreetSettings

StartSink = Callable[..., Sink]


@pytest.fixture
def announcer(settings: StreetSettings) -> Announcer:
    """Stands where dedupe stands, with the catalogue applied."""
    made = Announcer(settings)
    made.apply_catalogue()
    return made


@pytest.fixture
def start_sink(settings: StreetSettings, tmp_path: Path) -> Iterator[StartSink]:
    """Starts sinks and ends them with the test."""
    started: list[Sink] = []

    def start(room: str = "stripe-sink-1", **environment: str) -> Sink:
        sink = Sink(settings, room, tmp_path, environment)
        started.append(sink)
        return sink

    yield start
    for sink in started:
        sink.stop()


def _story(seed: int, count: int, partition: int) -> list[tuple[UsageEvent, bool]]:
    """Deliveries of one partition with many repeats and some conflicts; customers stay in their partition, as keys do."""
    chance = random.Random(seed)
    told: list[tuple[UsageEvent, bool]] = []
    for number in range(count):
        if told and chance.random() < 0.15:
            again = chance.choice(told)[0]
            changed = make_event(again.id, customer=again.customer, quantity=again.quantity + chance.choice((0, 0, 1)))
            told.append((changed, False))
        else:
            event = make_event(f"{partition}-{number}", customer=f"c{partition}-{number % 7}", quantity=chance.randrange(100))
            told.append((event, chance.random() < 0.05))
    return told


def _batches(story: list[tuple[UsageEvent, bool]], width: int = 100) -> Iterator[list[tuple[UsageEvent, bool]]]:
    for start in range(0, len(story), width):
        yield story[start : start + width]


def _captured(connection: psycopg.Connection) -> int:
    (count,) = one(connection, "select coalesce(sum(arrived_events), 0)::bigint from ledger.source_batch")
    assert isinstance(count, int)
    return count


@pytest.fixture
def looking(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        yield connection


def test_everything_announced_is_in_the_ledger(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection):
    """On time, late, refused, repeated: all of it, once, in order; aborted transactions never happened; offsets are shown to Kafka."""
    told = []
    for partition in range(PARTITIONS):
        story = _story(partition, 300, partition)
        for batch in _batches(story, 60):
            deliveries: list[Delivery] = [*batch, b"garbage"]
            announcer.announce(partition, deliveries[:20], abort=True)
            announcer.announce(partition, deliveries)
        told += story
    sink = start_sink()
    wait_for_all_idle([sink], PARTITIONS)
    assert_books_are(looking, told)
    assert one(looking, "select count(*), count(distinct source_partition) from ledger.refusal where record = 'garbage'") == (20, 4)
    assert one(looking, "select version, in_force_from = '-infinity' from ledger.catalogue_version") == (1, True)
    _assert_shown(announcer, looking)
    assert (sink.ask("/readyz") or {})["ok"]


def _assert_shown(announcer: Announcer, looking: psycopg.Connection) -> None:
    """The group's offsets are the ledger's positions, for whoever looks at lag."""
    stored = {
        (topic, partition): offset
        for topic, partition, offset in rows(looking, "select topic, partition, next_offset from ops.source_offset")
    }
    settings = announcer.settings
    reader = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": f"{settings.topic_prefix}trueup.capture"})
    asked = [TopicPartition(str(topic), int(str(partition))) for topic, partition in stored]

    def shown() -> bool:
        return {(at.topic, at.partition): at.offset for at in reader.committed(asked, timeout=10)} == stored

    assert wait_until(shown, 10, 0.2)
    reader.close()


def test_a_topic_far_ahead_waits_for_the_others(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection):
    """Memory is bounded: reading pauses, also below what one progress record announces, and everything still comes through."""
    story = _story(1, 3_000, 0)
    for batch in _batches(story, 500):
        announcer.announce(0, batch)
    sink = start_sink(TRUEUP_CAPTURE_WAITING_RECORDS="40", TRUEUP_CAPTURE_EVENTS="700")
    wait_for_all_idle([sink], PARTITIONS)
    assert_books_are(looking, story)


def test_kill_minus_nine_again_and_again(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection):
    """A sink that is killed in mid-stream reads on where the ledger stands: nothing twice, nothing lost."""
    sink = start_sink(TRUEUP_CAPTURE_EVENTS="50")
    told: list[tuple[UsageEvent, bool]] = []
    for turn in range(2):
        for partition in range(PARTITIONS):
            story = _story(10 * turn + partition, 1_000, partition)
            # Ids of an earlier turn come again: duplicates and conflicts across the kill.
            for batch in _batches(story):
                announcer.announce(partition, batch)
            told += story
        before = _captured(looking)
        assert wait_until(lambda before=before: _captured(looking) > before, 30, 0.01)
        sink.process.send_signal(signal.SIGKILL)
        assert _captured(looking) < len(told), "the kill came too late to prove anything"
        sink.start_again()
    wait_for_all_idle([sink], PARTITIONS)
    assert_books_are(looking, told)


def test_two_sinks_share_and_one_dies(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection):
    """Two sinks share the partitions; when one dies for good, the other has everything within 30 s."""
    first, second = start_sink("stripe-sink-1"), start_sink("stripe-sink-2")
    wait_for_all_idle([first, second], PARTITIONS)
    assert first.owns() and second.owns() and not first.owns() & second.owns()
    told = []
    for partition in range(PARTITIONS):
        story = _story(partition, 2_000, partition)
        for batch in _batches(story):
            announcer.announce(partition, batch)
        told += story
    assert wait_until(lambda: _captured(looking) > 0, 30, 0.01)
    second.process.send_signal(signal.SIGKILL)
    second.process.wait(10)
    assert wait_until(lambda: first.owns() == set(range(PARTITIONS)), 30, 0.2)
    wait_for_all_idle([first], PARTITIONS)
    assert_books_are(looking, told)


def test_stopped_sink_wakes_up_as_a_zombie(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection):
    """A sink that stands still loses its partitions; the other goes on within 30 s, and what wakes up changes nothing."""
    first, second = start_sink("stripe-sink-1", TRUEUP_CAPTURE_EVENTS="100"), start_sink("stripe-sink-2", TRUEUP_CAPTURE_EVENTS="100")
    wait_for_all_idle([first, second], PARTITIONS)
    told = []
    for partition in range(PARTITIONS):
        story = _story(partition, 3_000, partition)
        for batch in _batches(story):
            announcer.announce(partition, batch)
        told += story
    assert wait_until(lambda: _captured(looking) > 200, 30, 0.01)
    first.process.send_signal(signal.SIGSTOP)
    assert _captured(looking) < len(told), "the stop came too late to prove anything"
    assert wait_until(lambda: _captured(looking) == len(told), 30, 0.2)
    epochs = rows(looking, "select partition, max(epoch) from ops.source_offset group by 1 order by 1")
    first.process.send_signal(signal.SIGCONT)
    wait_for_all_idle([first, second], PARTITIONS)
    assert_books_are(looking, told)
    assert [epoch for _, epoch in epochs] != [1, 1, 1, 1]


def test_zombie_batch_in_hand_is_refused(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection, database: Database):
    """The batch that a sink held when it was stopped comes after another owner's: its epoch is old, and it is refused, not doubled."""
    sink = start_sink(TRUEUP_CAPTURE_EVENTS="100")
    wait_for_all_idle([sink], PARTITIONS)
    with psycopg.connect(database.dsn) as holding:
        # A row lock makes the next batch wait in mid-transaction, exactly where it moves its positions.
        holding.execute("select 1 from ops.source_offset where partition = 0 for update")
        told = [(make_event(str(n)), False) for n in range(10)]
        announcer.announce(0, told)
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name like '%capture'"
        assert wait_until(lambda: one(looking, waiting) == (1,), 30, 0.05)
        # Meanwhile another owner takes the partition.
        holding.execute("update ops.source_offset set epoch = epoch + 1 where partition = 0")
        holding.commit()
    assert wait_until(lambda: "fenced" in sink.log.read_text(), 30, 0.1)
    wait_for_all_idle([sink], PARTITIONS)  # the other owner never was: the sink takes the partition again
    assert_books_are(looking, told)


def test_ledger_away_and_back(kafka_settings: StreetSettings, tmp_path: Path):
    """While Postgres is away nothing is lost and nothing ends; when it is back, capture goes on by itself."""
    server = Postgres(tmp_path / "postgres", print)
    part = server.part()
    process = spawn(part.prepare(), tmp_path / "postgres.log", part.death_signal)
    assert wait_until(lambda: part.ready().ok, 60, 0.1)
    migrate(server.dsn())
    settings = kafka_settings.model_copy(update={"postgres_dsn": server.dsn("postgres", "trueup_writer")})
    announcer = Announcer(settings)
    announcer.apply_catalogue()
    sink = Sink(settings, "stripe-sink-1", tmp_path, {"TRUEUP_CAPTURE_EVENTS": "100"})
    try:
        wait_for_all_idle([sink], PARTITIONS)
        story = _story(1, 3_000, 0)
        for batch in _batches(story):
            announcer.announce(0, batch)
        with psycopg.connect(server.dsn(), autocommit=True) as looking:
            assert wait_until(lambda: _captured(looking) > 0, 30, 0.01)
        process.kill()
        process.wait(10)
        assert wait_until(lambda: sink.ask("/readyz") is None and sink.process.poll() is None, 30, 0.2)
        process = spawn(part.prepare(), tmp_path / "postgres.log", part.death_signal)
        assert wait_until(lambda: part.ready().ok, 60, 0.1)
        wait_for_all_idle([sink], PARTITIONS)
        with psycopg.connect(server.dsn(), autocommit=True) as looking:
            assert_books_are(looking, story)
    finally:
        sink.stop()
        process.send_signal(part.stop_signal)
        process.wait(30)


def test_lying_progress_record_halts_the_room(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection):
    """What dedupe says and what arrives disagree: the room halts with exit 3, says why, and has written nothing of it."""
    good = announcer.announce(0, [(make_event("a"), False)])
    sink = start_sink()
    wait_for_all_idle([sink], PARTITIONS)
    lie = make_announced(first_offset=1, on_time=[make_forwarded(1, make_event("b"))])
    told_otherwise = make_announced(first_offset=1, on_time=[make_forwarded(1, make_event("b", quantity=8))])
    announcer.write(type(lie)(told_otherwise.progress, 0, lie.on_time, (), ()))
    assert sink.process.wait(30) == 3
    assert "announced as on time" in sink.log.read_text().splitlines()[-1]
    assert_books_are(looking, [(good.on_time[0].event, False)])


def test_usage_waits_for_its_catalogue(settings: StreetSettings, start_sink: StartSink, looking: psycopg.Connection):
    """Nothing is decided without the catalogue that dedupe decided by; once it is there, everything goes through."""
    announcer = Announcer(settings)
    told = [(make_event("a", event_time_ms=NOON_MS), False)]
    announcer.announce(0, told)
    sink = start_sink()
    assert wait_until(lambda: "no catalogue" in sink.log.read_text(), 30, 0.1)
    assert _captured(looking) == 0
    announcer.apply_catalogue(CATALOGUE_TOML)
    wait_for_all_idle([sink], PARTITIONS)
    assert_books_are(looking, told)
