"""What a worker refuses to start on, what halts it, and what it says of itself while it waits."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from devstack.process import wait_until
from tests.makers.dedupe_stories import event
from tests.makers.dedupe_topics import Topics
from tests.makers.dedupe_workers import Worker
from tests.system.dedupe.conftest import MakeWorker
from trueup.contracts.codec import encode_event
from trueup.contracts.topics import TopicNames
from trueup.runtime.clock import SystemClock
from trueup.runtime.kafka import admin, transactional_producer_options
from trueup.runtime.settings import StreetSettings

MISCONFIGURED, HALTED = 2, 3
PARTITIONS = 4


def last_line(worker: Worker) -> str:
    """The message of the last log line, which is what the supervisor shows."""
    message = json.loads(worker.said().strip().splitlines()[-1])["message"]
    assert isinstance(message, str)
    return message


def refusal(worker: Worker, code: int = HALTED) -> str:
    """Starts the worker, which must end, and gives its reason."""
    worker.start()
    assert worker.wait_exit() == code, worker.said()
    return last_line(worker)


def test_missing_topics_are_named_with_the_remedy(kafka_settings: StreetSettings, make_worker: MakeWorker) -> None:
    """Under another prefix there is nothing at all."""
    said = refusal(make_worker("dedupe-1", kafka_settings.model_copy(update={"topic_prefix": "nowhere."})))
    for kind in ("usage.events.v1", "usage.on_time.v1", "usage.late.v1", "usage.rejected.v1", "usage.progress.v1", "trueup.catalogue.v1"):
        assert f"nowhere.{kind} does not exist" in said
    assert "trueup topics apply" in said


def test_a_usage_topic_without_append_time_is_refused(kafka_settings: StreetSettings, make_worker: MakeWorker) -> None:
    """Arrival would be the producer's claim."""
    names = TopicNames(kafka_settings.topic_prefix)
    _set(kafka_settings, names.usage_events, "message.timestamp.type", "CreateTime")
    said = refusal(make_worker("dedupe-1", kafka_settings))
    assert f"{names.usage_events} has message.timestamp.type=CreateTime, not LogAppendTime" in said
    assert "trueup topics apply" in said


def test_topics_with_another_number_of_partitions_are_refused(kafka_settings: StreetSettings, make_worker: MakeWorker) -> None:
    """Output partition = input partition: capture could not go on otherwise."""
    names = TopicNames(kafka_settings.topic_prefix)
    client = admin(kafka_settings)
    for future in client.create_partitions([NewPartitions(names.late, PARTITIONS + 1)]).values():
        future.result()
    said = refusal(make_worker("dedupe-1", kafka_settings))
    assert f"{names.late} has {PARTITIONS + 1} partitions, TRUEUP_PARTITIONS says {PARTITIONS}" in said


def test_settings_that_are_missing_are_named(kafka_settings: StreetSettings, make_worker: MakeWorker) -> None:
    """A room without a name would be no static member, and its transactions could be told apart by nobody."""
    worker = make_worker("dedupe-1", kafka_settings)
    del worker.environment["TRUEUP_ROOM"]
    del worker.environment["TRUEUP_KAFKA_BOOTSTRAP"]
    assert "TRUEUP_KAFKA_BOOTSTRAP, TRUEUP_ROOM" in refusal(worker, MISCONFIGURED)


def test_a_record_without_append_time_halts_the_room(street: Topics, make_worker: MakeWorker) -> None:
    """A topic that was switched keeps its old records as they are; nobody knows when they arrived."""
    _set(street.settings, street.names.usage_events, "message.timestamp.type", "CreateTime")
    street.publish(encode_event(event("a")), 2)
    street.flush()
    _set(street.settings, street.names.usage_events, "message.timestamp.type", "LogAppendTime")
    said = refusal(make_worker("dedupe-1", street.settings))
    assert f"{street.names.usage_events} 2:0 has timestamp type CreateTime, not LogAppendTime" in said
    assert street.read_all(street.names.on_time) == []


def _set(settings: StreetSettings, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client = admin(settings)
    for future in client.incremental_alter_configs([resource]).values():
        future.result()


def test_offsets_that_went_back_repeat_nothing_and_offsets_ahead_halt_the_room(street: Topics, make_worker: MakeWorker) -> None:
    """A broker that was killed was seen to answer with old offsets; ahead of what was decided, no memory belongs."""
    for number in range(10):
        street.publish(encode_event(event(f"e{number}", SystemClock().now_ms())), 0)
    street.flush()
    worker = make_worker("dedupe-1", street.settings)
    worker.start()
    assert wait_until(lambda: street.unread() == 0, 60, 0.2), worker.said()
    worker.kill()
    street.commit_by_hand(partition=0, offset=4)
    worker.start()
    street.publish(encode_event(event("e10", SystemClock().now_ms())), 0)
    street.flush()
    assert wait_until(lambda: street.unread() == 0, 60, 0.2), worker.said()
    assert len(street.read_all(street.names.on_time)) == 11
    worker.kill()
    street.commit_by_hand(partition=0, offset=12)
    assert "committed offset 12 is where no progress record ends" in refusal(worker)


def test_deleted_input_halts_the_room(street: Topics, make_worker: MakeWorker) -> None:
    """Usage that retention took before it was read is a hole in the books, and jumping over it would hide it."""
    for number in range(10):
        street.publish(encode_event(event(f"e{number}", SystemClock().now_ms())), 0)
    street.flush()
    street.commit_by_hand(partition=0, offset=2)
    street.delete_records(partition=0, before=5)
    assert "records were deleted before they were read" in refusal(make_worker("dedupe-1", street.settings))


def test_markers_that_retention_took_from_a_quiet_partition_halt_nothing(street: Topics, make_worker: MakeWorker) -> None:
    """Of services that publish in transactions, one of them aborted: a room that stood before them would look for lost records."""
    worker = make_worker("dedupe-1", street.settings)
    worker.start()
    # Nothing else ever came to this partition: closes and flushes wait until it is read to its end all the same.
    street.publish_in_transaction(encode_event(event("never", SystemClock().now_ms())), 1, abort=True)
    street.publish_in_transaction(encode_event(event("e0", SystemClock().now_ms())), 0)
    street.publish_in_transaction(encode_event(event("never", SystemClock().now_ms())), 0, abort=True)
    end = 4  # two records, each with the marker of its transaction, which the broker writes a moment later
    assert wait_until(lambda: street.ends.low_and_high(street.names.usage_events, 0)[1] == end, 30)
    assert wait_until(lambda: street.unread() == 0, 60, 0.2), worker.said()
    assert [(done.first_offset, done.next_offset, done.arrived.events) for done in street.progress(1)] == [(0, 2, 0)]
    assert [(done.first_offset, done.next_offset, done.arrived.events) for done in street.progress(0)][-1][1:] == (end, 0)
    worker.kill()
    street.delete_records(partition=0, before=end)
    worker.start()
    street.publish_in_transaction(encode_event(event("e1", SystemClock().now_ms())), 0)
    assert wait_until(lambda: len(street.read(street.names.on_time, 0)) == 2, 60, 0.2), worker.said()
    assert wait_until(lambda: street.unread() == 0, 60, 0.2), worker.said()
    street.check_chain()


def test_without_a_catalogue_the_room_waits_and_says_so(kafka_settings: StreetSettings, make_worker: MakeWorker) -> None:
    """It is ready, since nothing is wrong with it, but it owns nothing and decides nothing."""
    street = Topics(kafka_settings)
    street.publish(encode_event(event("a", SystemClock().now_ms())), 0)
    street.flush()
    worker = make_worker("dedupe-1", street.settings)
    worker.start()
    worker.wait_ready()
    assert worker.page("/readyz")["why"] == "waiting for the first catalogue version"
    assert worker.owns() == []
    assert not worker.is_idle()
    street.apply_catalogue()
    assert wait_until(lambda: street.unread() == 0, 60, 0.2), worker.said()
    assert worker.metric("trueup_catalogue_version") == 1
    assert len(street.read_all(street.names.on_time)) == 1


def test_idle_is_said_only_at_the_true_end(street: Topics, make_worker: MakeWorker) -> None:
    """A publisher's open transaction is something left to do, though the room cannot read it yet."""
    worker = make_worker("dedupe-1", street.settings)
    worker.start()
    worker.wait_owning(PARTITIONS)
    assert wait_until(worker.is_idle, 20, 0.1), worker.page("/activity")
    before = worker.page("/activity")["work"]
    producer = Producer(transactional_producer_options(street.settings, "a-publisher"))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(street.names.usage_events, encode_event(event("a", SystemClock().now_ms())), partition=3)
    producer.flush(10)
    assert not worker.is_idle()
    assert "partition 3 was decided up to 0, and ends at 1" in str(worker.page("/activity")["why"])
    producer.commit_transaction(30)
    assert wait_until(worker.is_idle, 20, 0.1), worker.page("/activity")
    assert worker.page("/activity")["work"] != before
    # The commit's own marker takes an offset that holds no record.
    assert street.ends.low_and_high(street.names.usage_events, 3)[1] == 2
    assert street.progress(3)[-1].next_offset == 1


def test_a_second_worker_of_the_same_name_ends_the_first(street: Topics, make_worker: MakeWorker) -> None:
    """Two processes of one name cannot both go on; the newer one does."""
    old = make_worker("dedupe-1", street.settings)
    old.start()
    old.wait_owning(PARTITIONS)
    new = make_worker("dedupe-1", street.settings)
    new.start()
    new.wait_owning(PARTITIONS)
    street.publish(encode_event(event("a", SystemClock().now_ms())), 0)
    street.flush()
    assert old.wait_exit() == 1, old.said()
    assert wait_until(lambda: street.unread() == 0, 60, 0.2), new.said()
    assert len(street.read_all(street.names.on_time)) == 1


def test_a_port_that_is_taken_ends_the_process(street: Topics, make_worker: MakeWorker) -> None:
    """A room without its pages cannot be watched, so it does not run."""
    first = make_worker("dedupe-1", street.settings)
    first.start()
    first.wait_ready()
    second = make_worker("dedupe-2", street.settings)
    second.environment["TRUEUP_HTTP_PORT"] = str(first.port)
    second.start()
    assert second.wait_exit() == 1, second.said()


@pytest.mark.parametrize(("key", "value"), [("transactional.id", "mine"), ("isolation.level", "read_uncommitted"), ("acks", "1")])
def test_settings_that_would_bend_a_promise_are_refused(
    kafka_settings: StreetSettings, make_worker: MakeWorker, key: str, value: str
) -> None:
    """What correctness rests on cannot be passed through."""
    worker = make_worker("dedupe-1", kafka_settings)
    worker.environment[f"TRUEUP_KAFKA__{key.upper().replace('.', '_')}"] = value
    assert f"may not change {key}" in refusal(worker, MISCONFIGURED)


def test_a_setting_that_the_library_does_not_know_is_named(kafka_settings: StreetSettings, make_worker: MakeWorker) -> None:
    """A typing error ends the room as misconfigured, so that nobody starts it again and again."""
    worker = make_worker("dedupe-1", kafka_settings)
    worker.environment["TRUEUP_KAFKA__FETCH_MIN_BITES"] = "1"
    assert "TRUEUP_KAFKA__… cannot be used" in refusal(worker, MISCONFIGURED)
