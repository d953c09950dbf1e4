"""Client options: the user's own settings pass, those that correctness rests on do not."""

import json
import subprocess
import sys

import pytest

from trueup.runtime import kafka
from trueup.runtime.settings import SettingsError, StreetSettings


def settings(**passed_through: str) -> StreetSettings:
    dotted = {key.replace("_", "."): value for key, value in passed_through.items()}
    return StreetSettings(kafka_bootstrap="127.0.0.1:1", room="dedupe-1", topic_prefix="t1.", kafka=dotted)


def test_consumer_never_jumps_over_a_hole() -> None:
    """Aborted records stay hidden, a lost position is an error, and a prefix keeps tests apart."""
    options = kafka.consumer_options(settings(fetch_wait_max_ms="50"), "trueup.dedupe")
    assert options["isolation.level"] == "read_committed"
    assert options["auto.offset.reset"] == "error"
    assert options["enable.auto.commit"] is False
    assert options["group.id"] == "t1.trueup.dedupe"
    assert options["group.instance.id"] == "t1.dedupe-1"
    assert options["fetch.wait.max.ms"] == "50"


def test_setting_that_bends_a_guarantee_is_refused() -> None:
    """It is said aloud, not overridden in silence; saying the same again is fine."""
    with pytest.raises(SettingsError, match=r"isolation\.level"):
        kafka.consumer_options(settings(isolation_level="read_uncommitted"), "g")
    with pytest.raises(SettingsError, match="acks"):
        kafka.producer_options(settings(acks="1"))
    assert kafka.producer_options(settings(acks="all"))["acks"] == "all"


@pytest.mark.parametrize(("key", "value"), [("no_such_setting", "1"), ("batch_size", "large"), ("security_protocol", "none")])
def test_setting_that_the_library_does_not_understand_is_named(key: str, value: str) -> None:
    """A typing error is the settings' fault and not a room's: it must not be started again and again."""
    for options in (kafka.client_options, kafka.producer_options):
        with pytest.raises(SettingsError, match=rf'TRUEUP_KAFKA__… cannot be used: .*"{key.replace("_", ".")}"'):
            options(settings(**{key: value}))


def test_producers_place_records_as_java_clients_do() -> None:
    """The same customer goes to the same partition, whoever sends."""
    options = kafka.transactional_producer_options(settings(), "dedupe-1")
    assert options["partitioner"] == "murmur2_random"
    assert options["transactional.id"] == "t1.dedupe-1"
    assert options["transaction.timeout.ms"] == 15_000


def test_clients_start_with_these_options() -> None:
    """librdkafka itself knows every name and value."""
    from confluent_kafka import Consumer, KafkaException, Producer

    with pytest.raises(KafkaException, match="No such configuration property"):
        Producer({**kafka.transactional_producer_options(settings(), "t"), "acknowledgements": "all"})
    Consumer(kafka.consumer_options(settings(), "g", partition_eof=True)).close()
    Producer(kafka.transactional_producer_options(settings(), "t"))
    kafka.admin(settings())
    kafka.OffsetsReader(settings()).close()


SPOKEN_TO_NOBODY = """
from confluent_kafka import Consumer, KafkaException, Producer
from trueup.runtime import kafka, log
from trueup.runtime.settings import StreetSettings

log.configure("dedupe-1")
settings = StreetSettings(kafka_bootstrap="127.0.0.1:1", room="dedupe-1")
reader = kafka.OffsetsReader(settings)
consumer = Consumer(kafka.consumer_options(settings, "group"))
consumer.subscribe(["nothing"])
producer = Producer(kafka.producer_options(settings))
consumer.poll(1.0)
producer.poll(1.0)
try:
    reader.low_and_high("nothing", 0, 0.5)
except KafkaException:
    consumer.close()
else:
    raise SystemExit("a broker that is not there gave an answer")
reader.close()
"""


def test_what_the_client_library_says_is_a_line_like_ours() -> None:
    """Each client speaks of a broker that is not there; stderr of a room holds JSON lines and nothing else."""
    done = subprocess.run((sys.executable, "-c", SPOKEN_TO_NOBODY), capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    refused = [line for line in lines if "Connection refused" in line["message"]]
    assert {kind for line in refused for kind in ("consumer-1", "consumer-2", "producer-3") if kind in line["message"]} == {
        "consumer-1",
        "consumer-2",
        "producer-3",
    }
    assert {(line["logger"], line["room"]) for line in refused} == {("librdkafka", "dedupe-1")}
