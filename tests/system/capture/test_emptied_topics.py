"""What retention took away: nothing that matters of a partition that was quiet, and what was not captured."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg
from confluent_kafka import Consumer, TopicPartition

from tests.conftest import PARTITIONS
from tests.makers.capture_batches import make_announced, make_event
from tests.makers.capture_topics import Announcer, Delivery, Sink, wait_for_all_idle
from tests.makers.ledger_books import assert_books_are
from trueup.contracts.events import UsageEvent
from trueup.contracts.topics import DEDUPE_GROUP
from trueup.ledger.store import periods, proof
from trueup.ledger.store.connection import connect
from trueup.runtime.kafka import OffsetsReader, admin, consumer_options
from trueup.runtime.settings import StreetSettings


def _empty(announcer: Announcer, partition: int) -> None:
    """As retention does with a partition that nothing came to for two weeks: its last segment goes, markers and all."""
    names = announcer.names
    with closing(OffsetsReader(announcer.settings)) as ends:
        topics = (names.on_time, names.late, names.rejected, names.progress)
        _delete(announcer, {topic: ends.low_and_high(topic, partition)[1] for topic in topics}, partition)


def _delete(announcer: Announcer, before: dict[str, int], partition: int) -> None:
    """Everything of these topics before an offset."""
    gone = [TopicPartition(topic, partition, offset) for topic, offset in before.items()]
    client = admin(announcer.settings)  # kept, for nobody is answered by one that was let go of
    for future in client.delete_records(gone).values():
        future.result()


def _deliveries(name: str) -> tuple[list[tuple[UsageEvent, bool]], list[Delivery]]:
    story = [(make_event(f"{name}-on-time"), False), (make_event(f"{name}-late", quantity=3), True)]
    return story, [*story, b"garbage"]


def test_a_partition_that_was_quiet_for_longer_than_its_retention_is_read_on(
    announcer: Announcer, settings: StreetSettings, tmp_path: Path, looking: psycopg.Connection
) -> None:
    """The ledger stands behind the last record, the topic began behind that record's marker, and every restart halted for it."""
    before, deliveries = _deliveries("before")
    announcer.announce(0, deliveries)
    first = Sink(settings, "stripe-sink-1", tmp_path)
    wait_for_all_idle([first], PARTITIONS)
    first.stop()
    _empty(announcer, 0)
    again = Sink(settings, "stripe-sink-1", tmp_path)
    try:
        wait_for_all_idle([again], PARTITIONS)
        after, deliveries = _deliveries("after")
        announcer.announce(0, deliveries)
        wait_for_all_idle([again], PARTITIONS)
        assert_books_are(looking, [*before, *after])
    finally:
        again.stop()


def test_progress_over_nothing_but_markers_is_captured(
    announcer: Announcer, settings: StreetSettings, tmp_path: Path, looking: psycopg.Connection
) -> None:
    """What dedupe says of a partition that is quiet: no records, and the next one begins behind their markers."""
    before, deliveries = _deliveries("before")
    said = announcer.announce(0, deliveries).progress
    empty = make_announced(first_offset=said.next_offset, next_offset=said.next_offset + 2)
    announcer.write(empty)
    announcer.next_offset[0] = empty.progress.next_offset
    after, deliveries = _deliveries("after")
    announcer.announce(0, deliveries)
    sink = Sink(settings, "stripe-sink-1", tmp_path)
    try:
        wait_for_all_idle([sink], PARTITIONS)
        assert_books_are(looking, [*before, *after])
        with connect(settings.postgres_dsn, "test") as ledger:
            checks = {check.check_name: check for check in proof.prove(ledger, deep=True).checks}
        assert {name for name, check in checks.items() if check.violations} == set()
        assert checks["source_without_gap"].evaluated == 3
    finally:
        sink.stop()


def test_what_was_deleted_before_it_was_captured_halts_the_room(announcer: Announcer, settings: StreetSettings, tmp_path: Path) -> None:
    announcer.announce(0, _deliveries("before")[1])
    first = Sink(settings, "stripe-sink-1", tmp_path)
    wait_for_all_idle([first], PARTITIONS)
    first.stop()
    announcer.announce(0, _deliveries("lost")[1])
    _empty(announcer, 0)
    again = Sink(settings, "stripe-sink-1", tmp_path)
    try:
        assert again.process.wait(60) == 3
        assert "records were deleted before they were captured" in again.log.read_text().splitlines()[-1]
    finally:
        again.stop()


def test_a_new_ledger_begins_where_everything_that_was_announced_is_still_there(
    announcer: Announcer, settings: StreetSettings, tmp_path: Path, looking: psycopg.Connection
) -> None:
    """Of a busy topic more is gone than of the progress topic, and of the late one everything: it ended at that, at every start."""
    announcer.announce(0, [*_deliveries("torn")[1], (make_event("torn-too"), False)])
    announcer.announce(0, [(make_event("late-only"), True)])
    whole = [(make_event("whole"), False), (make_event("whole-too", quantity=2), False)]
    announcer.announce(0, whole)
    _delete(announcer, {announcer.names.on_time: 1, announcer.names.late: 4}, 0)
    sink = Sink(settings, "stripe-sink-1", tmp_path)
    try:
        wait_for_all_idle([sink], PARTITIONS)
        assert_books_are(looking, whole)
        after, deliveries = _deliveries("after")
        announcer.announce(0, deliveries)
        wait_for_all_idle([sink], PARTITIONS)
        assert_books_are(looking, [*whole, *after])
    finally:
        sink.stop()


def test_a_new_ledger_passes_over_what_nothing_announces_any_more(
    announcer: Announcer, settings: StreetSettings, tmp_path: Path, looking: psycopg.Connection
) -> None:
    """Refused records outlive what announced them: they waited without an end, and halted the sink once they were gone as well."""
    announcer.announce(0, [b"garbage"])
    names = announcer.names
    with closing(OffsetsReader(settings)) as ends:
        progress, rejected = (ends.low_and_high(topic, 0)[1] for topic in (names.progress, names.rejected))
    _delete(announcer, {names.progress: progress}, 0)
    dedupe = Consumer(consumer_options(settings, DEDUPE_GROUP))
    dedupe.commit(offsets=[TopicPartition(names.usage_events, 0, 7)], asynchronous=False)
    dedupe.close()
    first = Sink(settings, "stripe-sink-1", tmp_path)
    wait_for_all_idle([first], PARTITIONS)
    first.stop()
    with connect(settings.postgres_dsn, "test") as ledger:
        # So that a close does not wait for what can never come.
        assert periods.captured_offsets(ledger, [0, 1]) == {0: 7, 1: 0}
    _delete(announcer, {names.rejected: rejected}, 0)
    again = Sink(settings, "stripe-sink-1", tmp_path)
    try:
        wait_for_all_idle([again], PARTITIONS)
        announcer.next_offset[0] = 7
        after, deliveries = _deliveries("after")
        announcer.announce(0, deliveries)
        wait_for_all_idle([again], PARTITIONS)
        assert_books_are(looking, after)
        with connect(settings.postgres_dsn, "test") as ledger:
            assert periods.captured_offsets(ledger, [0]) == {0: announcer.next_offset[0]}
            assert {check.check_name for check in proof.prove(ledger).checks if check.violations} == set()
    finally:
        again.stop()
