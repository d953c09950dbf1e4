"""The publisher against a real broker: what is acknowledged is there, and what is refused is named."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.cimpl import NewTopic

from trueup.contracts.catalogue import CatalogueVersion
from trueup.contracts.codec import Decoder, encode_catalogue_version
from trueup.contracts.events import UsageEvent
from trueup.contracts.keys import partition_of
from trueup.contracts.topics import TopicNames
from trueup.publisher import DeliveryFailed, InvalidUsage, Publisher
from trueup.runtime import kafka
from trueup.runtime.settings import StreetSettings

TIME = datetime(2026, 11, 1, tzinfo=UTC)


def environment(settings: StreetSettings, **more: str) -> dict[str, str]:
    """Say where to publish, as a service is told."""
    return {"TRUEUP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap, "TRUEUP_TOPIC_PREFIX": settings.topic_prefix} | more


def everything_on(settings: StreetSettings, topic: str) -> list[Message]:
    """Read a topic from its beginning to the end it has now."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "reader", "enable.auto.commit": False})
    found: list[Message] = []
    for partition in range(settings.partitions):
        low, high = ends_of(consumer, TopicPartition(topic, partition))
        consumer.assign([TopicPartition(topic, partition, low)])
        read = 0
        while read < high - low:
            messages = consumer.consume(high - low - read, timeout=10)
            assert messages, "the broker promised more than it gave"
            read += len(messages)
            found += messages
    consumer.close()
    return found


def ends_of(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """Ask where a partition begins and ends; one that was just created may not have its leader yet."""
    for _ in range(100):
        try:
            ends: tuple[int, int] = consumer.get_watermark_offsets(partition, timeout=10)
        except KafkaException:
            time.sleep(0.1)
        else:
            return ends
    raise AssertionError(f"{partition} has no leader")


def decoded(message: Message) -> UsageEvent:
    """Read a record as the dedupe room does."""
    event = Decoder().decode(message.value())
    assert isinstance(event, UsageEvent), event
    return event


def test_what_is_flushed_is_there(kafka_settings: StreetSettings, topics: TopicNames) -> None:
    """Each event once, under its customer's key, in the partition where every other client would put it, dated by the broker."""
    with Publisher.from_environment(
        "inference", scales={"storage": 3, "input_tokens": 0}, environment=environment(kafka_settings)
    ) as usage:
        for number in range(200):
            usage.publish(id=f"req-{number}", customer=f"cust_{number % 20}", meter="input_tokens", value=number, time=TIME)
        usage.publish(
            id="refund:req-7",
            customer="cust_7",
            meter="storage",
            value="-0.5",
            time=TIME,
            reason="failed",
            corrects="req-7",
            dimensions={"a": "b"},
        )
        usage.flush()
        messages = everything_on(kafka_settings, topics.usage_events)
    events = [decoded(message) for message in messages]
    assert sorted(event.id for event in events) == sorted([f"req-{number}" for number in range(200)] + ["refund:req-7"])
    assert {event.source for event in events} == {"inference"}
    for message, event in zip(messages, events, strict=True):
        assert message.key() == event.customer.encode()
        assert message.partition() == partition_of(event.customer.encode(), kafka_settings.partitions)
        assert message.timestamp()[0] == 2, "LogAppendTime"
    refund = next(event for event in events if event.id == "refund:req-7")
    expected = UsageEvent("refund:req-7", "inference", 1_793_491_200_000, "storage", "cust_7", -500, "failed", "req-7", {"a": "b"})
    assert refund == expected


def append_catalogue(settings: StreetSettings, topics: TopicNames, version: int, *meters: tuple[str, int]) -> None:
    """Put a version of the catalogue on its topic."""
    tables = [f'[meter.{name}]\nunit = "u"\nscale = {scale}\nstripe_event_name = "{name}"\n' for name, scale in meters]
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap})
    producer.produce(topics.catalogue, encode_catalogue_version(CatalogueVersion(version, "\n".join(tables), "test")))
    assert producer.flush(30) == 0


def test_values_are_in_the_meter_s_unit_as_the_catalogue_has_it(kafka_settings: StreetSettings, topics: TopicNames) -> None:
    """A meter of three decimal places, and one that is declared while the service runs; what nobody declared is refused."""
    append_catalogue(kafka_settings, topics, 1, ("audio", 3))
    with Publisher.from_environment("inference", environment=environment(kafka_settings)) as usage:
        usage.publish(id="a", customer="c", meter="audio", value=374, time=TIME)
        usage.publish(id="b", customer="c", meter="audio", value="0.5", time=TIME)
        with pytest.raises(InvalidUsage, match="does not declare it"):
            usage.publish(id="c", customer="c", meter="video", value=1, time=TIME)
        append_catalogue(kafka_settings, topics, 2, ("audio", 3), ("video", 1))
        deadline = time.monotonic() + 30
        while True:
            try:
                usage.publish(id="c", customer="c", meter="video", value=1, time=TIME)
                break
            except InvalidUsage:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    found = {event.id: event.quantity for event in map(decoded, everything_on(kafka_settings, topics.usage_events))}
    assert found == {"a": 374_000, "b": 500, "c": 10}


def test_one_customer_s_events_keep_their_order(kafka_settings: StreetSettings, topics: TopicNames) -> None:
    """Also when several threads publish."""

    def publish(customer: int) -> None:
        for number in range(300):
            usage.publish(id=f"{customer}-{number}", customer=f"c{customer}", meter="m", value=number, time=TIME)

    with (
        Publisher.from_environment("inference", scales={"m": 0}, environment=environment(kafka_settings)) as usage,
        ThreadPoolExecutor(8) as threads,
    ):
        list(threads.map(publish, range(8)))
    events = [decoded(message) for message in everything_on(kafka_settings, topics.usage_events)]
    for customer in range(8):
        assert [event.quantity for event in events if event.customer == f"c{customer}"] == list(range(300))


def test_a_record_that_the_broker_refuses_is_named(kafka_settings: StreetSettings, topics: TopicNames) -> None:
    """Only that one is lost; the publisher goes on before and after."""
    narrow = kafka_settings.topic_prefix + "narrow."
    topic = TopicNames(narrow).usage_events
    declared = NewTopic(topic, kafka_settings.partitions, config={"max.message.bytes": "1000"})
    admin = kafka.admin(kafka_settings)  # Held by a name: a client that is collected takes its open requests along.
    admin.create_topics([declared])[topic].result()
    told = environment(kafka_settings, TRUEUP_TOPIC_PREFIX=narrow, TRUEUP_KAFKA__COMPRESSION_TYPE="none")
    with Publisher.from_environment("inference", scales={"m": 0}, environment=told) as usage:
        usage.publish(id="before", customer="c", meter="m", value=1, time=TIME)
        usage.flush()
        usage.publish(id="large", customer="c", meter="m", value=1, time=TIME, dimensions={"pad": "x" * 2000})
        with pytest.raises(DeliveryFailed) as failed:
            usage.flush()
        assert failed.value.ids == ("large",)
        usage.publish(id="after", customer="c", meter="m", value=1, time=TIME)
    assert [decoded(message).id for message in everything_on(kafka_settings, topic)] == ["before", "after"]


FORGETFUL = """
import sys
from trueup.publisher import Publisher
usage = Publisher.from_environment("inference", scales={"m": 0})
for number in range(50):
    usage.publish(id=f"req-{number}", customer="c", meter="m", value=number, time=1_700_000_000_000)
"""


def run(told: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a service would."""
    return subprocess.run([sys.executable, *arguments], env=os.environ | told, capture_output=True, text=True, timeout=60, check=False)


def test_a_publisher_that_nobody_closed_still_delivers(kafka_settings: StreetSettings, topics: TopicNames) -> None:
    """The interpreter's end is no reason to lose usage."""
    ended = run(environment(kafka_settings), "-c", FORGETFUL)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(everything_on(kafka_settings, topics.usage_events)) == 50


def selftest(told: dict[str, str]) -> tuple[int, str]:
    """Run the self-test as a person does."""
    ended = run(told, "-m", "trueup.publisher", "--selftest")
    return ended.returncode, ended.stdout


def test_selftest(kafka_settings: StreetSettings, topics: TopicNames) -> None:
    """Nothing is published by it. Without a catalogue nothing could be: it says so, and what to do."""
    code, said = selftest(environment(kafka_settings))
    assert (code, said.count(" ok ")) == (1, 3), said
    assert f"catalogue      FAILED  {topics.catalogue} shows no meter: `trueup catalogue apply`" in said
    append_catalogue(kafka_settings, topics, 1, ("audio", 3))
    code, said = selftest(environment(kafka_settings))
    assert (code, said.count(" ok ")) == (0, 4), said
    assert "catalogue      ok      1 meters" in said
    assert f"{topics.usage_events}, {kafka_settings.partitions} partitions" in said
    assert everything_on(kafka_settings, topics.usage_events) == []


def test_selftest_without_the_topic(kafka_settings: StreetSettings) -> None:
    """It names the command that mends it."""
    code, said = selftest(environment(kafka_settings, TRUEUP_TOPIC_PREFIX="nowhere."))
    assert code == 1
    assert "topic          FAILED  nowhere.usage.events.v1 does not exist; `trueup topics apply` creates it" in said


def test_selftest_without_configuration() -> None:
    """It names the variable."""
    code, said = selftest({"TRUEUP_KAFKA_BOOTSTRAP": ""})
    assert (code, "TRUEUP_KAFKA_BOOTSTRAP is not set" in said) == (2, True)
