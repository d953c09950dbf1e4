"""The capture room on a real broker and a real Postgres: whatever is killed or stopped, the books are exact."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from devstack.postgres import Postgres
from devstack.process import spawn, wait_until
from tests.conftest import PARTITIONS, Database
from tests.makers.capture_batches import CATALOGUE_TOML, NOON_MS, make_announced, make_event, make_forwarded
from tests.makers.capture_stopping_at import ENDED, STOPPED
from tests.makers.capture_topics import Announcer, Delivery, Sink, wait_for_all_idle
from tests.makers.ledger_books import assert_books_are, one, rows
from trueup.contracts.events import UsageEvent
from trueup.ledger.migrate import migrate
from trueup.ledger.store import barrier
from trueup.runtime.kafka import OffsetsReader
from trueup.runtime.settings import StreetSettings

StartSink = Callable[..., Sink]
TAKE_OVER_SECONDS = 30.0
LOOKED_FOR_SECONDS = 3.0
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name like '%capture'"


@pytest.fixture
def start_sink(settings: StreetSettings, tmp_path: Path) -> Iterator[StartSink]:
    """Starts sinks and ends them with the test."""
    started: list[Sink] = []

    def start(room: str = "stripe-sink-1", command: tuple[str, ...] = ("services.stripe_sink",), **environment: str) -> Sink:
        sink = Sink(settings, room, tmp_path, environment, command)
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


def _announce_stories(
    announcer: Announcer, count: int, *, first_seed: int = 0, halfway: Callable[[], None] = lambda: None
) -> list[tuple[UsageEvent, bool]]:
    """A story for each partition, announced as dedupe does, a batch of each in turn; gives all of them.

    What is to happen in mid-stream happens halfway, while a sink reads: the other half of every partition comes after it.
    """
    stories = [_story(first_seed + partition, count, partition) for partition in range(PARTITIONS)]
    rounds = list(zip(*(list(_batches(story)) for story in stories), strict=True))
    for number, batches in enumerate(rounds):
        if number == len(rounds) // 2:
            halfway()
        for partition, batch in enumerate(batches):
            announcer.announce(partition, batch)
    return [delivery for story in stories for delivery in story]


def _captured(connection: psycopg.Connection) -> int:
    (count,) = one(connection, "select coalesce(sum(arrived_events), 0)::bigint from ledger.source_batch")
    assert isinstance(count, int)
    return count


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
    with _group_offsets(announcer, looking) as shown:
        assert wait_until(lambda: shown() == _stored(looking), 10, 0.2)


def _stored(looking: psycopg.Connection) -> dict[tuple[str, int], int]:
    """The ledger's position on each partition of each topic."""
    found = looking.execute("select topic, partition, next_offset from ops.source_offset").fetchall()
    return {(topic, partition): offset for topic, partition, offset in found}


@contextmanager
def _group_offsets(announcer: Announcer, looking: psycopg.Connection) -> Iterator[Callable[[], dict[tuple[str, int], int]]]:
    """Asks Kafka for the group's offsets, wherever the ledger has a position."""
    settings = announcer.settings
    reader = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": f"{settings.topic_prefix}trueup.capture"})
    asked = [TopicPartition(topic, partition) for topic, partition in _stored(looking)]
    try:
        yield lambda: {(at.topic, at.partition): at.offset for at in reader.committed(asked, timeout=10)}
    finally:
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
        before = _captured(looking)

        def kill(before: int = before) -> None:
            assert wait_until(lambda: _captured(looking) > before, 30, 0.01)
            sink.process.send_signal(signal.SIGKILL)

        # Ids of an earlier turn come again: duplicates and conflicts across the kill.
        told += _announce_stories(announcer, 1_000, first_seed=10 * turn, halfway=kill)
        assert before < _captured(looking) < len(told)
        sink.start_again()
    wait_for_all_idle([sink], PARTITIONS)
    assert_books_are(looking, told)


def test_two_sinks_share_and_one_dies(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection):
    """Two sinks share the partitions; when one dies for good, the other has everything within 30 s."""
    first, second = start_sink("stripe-sink-1"), start_sink("stripe-sink-2")
    wait_for_all_idle([first, second], PARTITIONS)
    assert first.owns() and second.owns() and not first.owns() & second.owns()

    def kill() -> None:
        assert wait_until(lambda: _captured(looking) > 0, 30, 0.01)
        second.process.send_signal(signal.SIGKILL)
        second.process.wait(10)

    told = _announce_stories(announcer, 2_000, halfway=kill)
    assert wait_until(lambda: first.owns() == set(range(PARTITIONS)), 30, 0.2)
    wait_for_all_idle([first], PARTITIONS)
    assert_books_are(looking, told)


def test_stopped_sink_wakes_up_as_a_zombie(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection):
    """A sink that stands still loses its partitions; the other goes on within 30 s, and what wakes up changes nothing."""
    first, second = start_sink("stripe-sink-1", TRUEUP_CAPTURE_EVENTS="100"), start_sink("stripe-sink-2", TRUEUP_CAPTURE_EVENTS="100")
    wait_for_all_idle([first, second], PARTITIONS)
    lost = first.owns()

    def stop() -> None:
        assert wait_until(lambda: _captured(looking) > 200, 30, 0.01)
        first.process.send_signal(signal.SIGSTOP)

    told = _announce_stories(announcer, 3_000, halfway=stop)
    assert wait_until(lambda: _captured(looking) == len(told), 30, 0.2)
    later = {partition for (partition,) in rows(looking, "select partition from ops.source_offset group by 1 having max(epoch) > 1")}
    first.process.send_signal(signal.SIGCONT)
    wait_for_all_idle([first, second], PARTITIONS)
    assert_books_are(looking, told)
    assert lost and lost <= later


def test_sink_stopped_in_mid_copy_changes_nothing_when_it_wakes_up(
    announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection, tmp_path: Path
):
    """It holds the barrier and a half-written batch; the other has its partitions moving within 30 s, and its own batch is dead."""
    stopping = ("tests.makers.capture_stopping_at", "EVENTS_COPYING", "3", str(tmp_path))
    zombie = start_sink("stripe-sink-1", stopping, TRUEUP_CAPTURE_EVENTS="100")
    heir = start_sink("stripe-sink-2", TRUEUP_CAPTURE_EVENTS="100")
    wait_for_all_idle([zombie, heir], PARTITIONS)
    lost = zombie.owns()
    told = _announce_stories(announcer, 2_000)
    assert wait_until(lambda: (tmp_path / STOPPED).exists() and zombie.stands_still(), 30, 0.02), zombie.log.read_text()
    stopped = json.loads((tmp_path / STOPPED).read_text())
    assert stopped["partition"] in lost
    assert one(looking, f"select state, query ilike 'copy%event%' from pg_stat_activity where pid = {stopped['pid']}") == ("active", True)
    assert stopped["pid"] in {holder.pid for holder in barrier.holders(looking)}
    before = _positions(looking)
    ends = {partition: _end(announcer, partition) for partition in lost}
    # At its very end a position stands before the last transaction's marker, which nobody reads.
    assert all(before[partition] < ends[partition] - 1 for partition in lost), (before, ends)

    def goes_on() -> bool:
        now = _positions(looking)
        return all(now[partition] > before[partition] for partition in lost)

    assert wait_until(goes_on, stopped["at"] + TAKE_OVER_SECONDS - time.monotonic(), 0.1), heir.log.read_text()
    print(f"all partitions of the stopped sink go on after {time.monotonic() - stopped['at']:.1f} s")
    wait_for_all_idle([heir], PARTITIONS)
    assert "ended a connection that held the barrier too long" in heir.log.read_text()
    ledger, owners = _everything(looking), rows(looking, OWNERS)

    zombie.process.send_signal(signal.SIGCONT)
    assert wait_until(lambda: (tmp_path / ENDED).exists() and zombie.stands_still(), 30, 0.02), zombie.log.read_text()
    assert json.loads((tmp_path / ENDED).read_text())["came_to"].startswith("AdminShutdown")
    assert (_everything(looking), rows(looking, OWNERS)) == (ledger, owners)
    zombie.process.send_signal(signal.SIGCONT)
    # The group gives it a share again; whoever takes a partition takes it under a new epoch, and moves nothing by that.
    wait_for_all_idle([zombie, heir], PARTITIONS)
    assert zombie.owns() and zombie.process.poll() is None
    assert _everything(looking) == ledger
    assert_books_are(looking, told)


OWNERS = "select * from ops.source_offset order by topic, partition"


def _positions(connection: psycopg.Connection) -> dict[int, int]:
    """Where the ledger stands on the progress topic, by partition."""
    return dict(connection.execute("select partition, next_offset from ops.source_offset where topic like '%progress%'").fetchall())


def _end(announcer: Announcer, partition: int) -> int:
    """Where a partition of the progress topic ends."""
    reader = OffsetsReader(announcer.settings)
    _, high = reader.low_and_high(announcer.names.progress, partition)
    reader.close()
    return high


def _everything(connection: psycopg.Connection) -> dict[str, object]:
    """A digest of every table of the ledger, but for the cuts that the cutters of both sinks go on noting, and the positions."""
    tables = rows(connection, "select tablename from pg_tables where schemaname = 'ledger' and tablename <> 'cut' order by 1")
    digest = "select count(*), md5(string_agg(t::text, ' ' order by t::text)) from ledger.{} t"
    found: dict[str, object] = {str(table): one(connection, digest.format(table)) for (table,) in tables}
    return found | {"positions": rows(connection, "select topic, partition, next_offset from ops.source_offset order by 1, 2")}


def test_no_position_is_shown_before_its_rows_are_committed(
    announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection, database: Database
):
    """While a batch is open, Kafka hears nothing of it: a group that is ahead of the ledger hides lag that is there."""
    sink = start_sink()
    wait_for_all_idle([sink], PARTITIONS)
    told = [(make_event("before"), False)]
    announcer.announce(0, told)
    wait_for_all_idle([sink], PARTITIONS)
    before = _stored(looking)
    place = (announcer.names.progress, 0)
    with _group_offsets(announcer, looking) as shown:
        assert wait_until(lambda: shown()[place] == before[place], 10, 0.2)
        with psycopg.connect(database.dsn) as holding:
            holding.execute("select 1 from ops.source_offset where partition = 0 for update")
            later = [(make_event(str(n)), False) for n in range(10)]
            announcer.announce(0, later)
            assert wait_until(lambda: one(looking, WAITING) == (1,), 30, 0.05)

            def is_ahead() -> bool:
                return any(offset > before[at] for at, offset in shown().items())

            # An offset takes a moment to get there: looked for as long as one that went out too early could need.
            assert not wait_until(is_ahead, LOOKED_FOR_SECONDS, 0.1), (shown(), before)
            assert _stored(looking) == before
        wait_for_all_idle([sink], PARTITIONS)
        after = _stored(looking)
        assert after[place] > before[place]
        assert wait_until(lambda: shown()[place] == after[place], 10, 0.2)
    assert_books_are(looking, told + later)


def test_zombie_batch_in_hand_is_refused(announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection, database: Database):
    """The batch that a sink held when it was stopped comes after another owner's: its epoch is old, and it is refused, not doubled."""
    sink = start_sink(TRUEUP_CAPTURE_EVENTS="100")
    wait_for_all_idle([sink], PARTITIONS)
    with psycopg.connect(database.dsn) as holding:
        # A row lock makes the next batch wait in mid-transaction, exactly where it moves its positions.
        holding.execute("select 1 from ops.source_offset where partition = 0 for update")
        told = [(make_event(str(n)), False) for n in range(10)]
        announcer.announce(0, told)
        assert wait_until(lambda: one(looking, WAITING) == (1,), 30, 0.05)
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


def test_a_version_in_mid_stream_divides_what_arrived_60_seconds_after_it(
    announcer: Announcer, start_sink: StartSink, looking: psycopg.Connection
):
    """A sink that waits for usage decides by a version that came with it: segments of one minute for the later arrivals only."""
    announcer.announce(0, [(make_event("first"), False)])
    sink = start_sink()
    wait_for_all_idle([sink], PARTITIONS)
    appended_ms = announcer.apply_catalogue(CATALOGUE_TOML.replace('roll_up = "PT5M"', 'roll_up = "PT1M"'), version=2)
    arrivals = {
        "at once": appended_ms,
        "just before": appended_ms + 59_999,
        "just then": appended_ms + 60_000,
        "after": appended_ms + 90_000,
    }
    usage = [
        make_forwarded(offset, make_event(id, customer=id, event_time_ms=NOON_MS), arrival_ms=arrival_ms)
        for offset, (id, arrival_ms) in enumerate(arrivals.items(), start=1)
    ]
    announcer.write(make_announced(first_offset=1, on_time=usage, version=2))
    assert wait_until(lambda: _captured(looking) == 1 + len(arrivals), 30, 0.02), sink.log.read_text()
    posted = rows(
        looking,
        "select s.customer, extract(epoch from p.segment_end - p.segment_start)::integer"
        " from ledger.posting p join ledger.subject s using (subject_id)",
    )
    assert dict(posted) == {"acme": 300, "at once": 300, "just before": 300, "just then": 60, "after": 60}
    kept = rows(looking, "select version, ledger.milliseconds(in_force_from) from ledger.catalogue_version where version > 1")
    assert kept == [(2, appended_ms + 60_000)]
