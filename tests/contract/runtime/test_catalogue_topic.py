"""The catalogue's topic on a real broker: nothing of it is given before all of it was read, and nothing that was read is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Producer

from trueup.cli.catalogue import refuse_second
from trueup.cli.faults import AnswerIsNo
from trueup.contracts.catalogue import CatalogueVersion
from trueup.contracts.codec import encode_catalogue_version
from trueup.contracts.errors import Broken, Transient
from trueup.runtime.catalogue_topic import CatalogueTopic
from trueup.runtime.kafka import OffsetsReader, producer_options, transactional_producer_options
from trueup.runtime.settings import StreetSettings

METER = '[meter.{name}]\nunit = "token"\nstripe_event_name = "{name}"\n'


@pytest.fixture
def topic(kafka_settings: StreetSettings) -> Iterator[CatalogueTopic]:
    """Followed from its first version on."""
    with closing(OffsetsReader(kafka_settings)) as ends, closing(CatalogueTopic(kafka_settings, "test", ends)) as followed:
        yield followed


def append(producer: Producer, topic: CatalogueTopic, number: int, content: str) -> None:
    """Hands one version to a producer."""
    producer.produce(topic.topic, encode_catalogue_version(CatalogueVersion(number, content, "a test", "")), str(number).encode())


def test_what_cannot_be_read_to_its_end_is_given_whole_by_a_later_call(kafka_settings: StreetSettings, topic: CatalogueTopic) -> None:
    """Two versions stand there and a transaction is open behind them: not even those two are given until it ends."""
    plain = Producer(producer_options(kafka_settings))
    for number in (1, 2):
        append(plain, topic, number, METER.format(name=f"meter_{number}"))
    assert plain.flush(30) == 0
    transactional = Producer(transactional_producer_options(kafka_settings, "test"))
    transactional.init_transactions(30)
    transactional.begin_transaction()
    append(transactional, topic, 3, METER.format(name="meter_3"))
    assert transactional.flush(30) == 0

    with pytest.raises(Transient, match="read up to 2, and ends at 3"):
        topic.read_on(1.5)
    transactional.commit_transaction(30)
    found = topic.read_on(30)
    assert [(one.version.version, sorted(one.content.meters)) for one in found] == [(n, [f"meter_{n}"]) for n in (1, 2, 3)]
    assert topic.read_on(30) == []


def test_a_version_that_cannot_be_read_breaks_whoever_follows(kafka_settings: StreetSettings, topic: CatalogueTopic) -> None:
    """Bytes of another schema, or a text that is no catalogue: nobody goes on with half of what is in force."""
    producer = Producer(producer_options(kafka_settings))
    append(producer, topic, 1, "[meter.tokens]\nunknown = 1\n")
    assert producer.flush(30) == 0
    with pytest.raises(Broken, match=r"0:0.*unknown"):
        topic.read_on(30)


def test_of_two_that_were_applied_at_once_the_first_is_in_force(kafka_settings: StreetSettings, topic: CatalogueTopic) -> None:
    """Both had read version 1. The second of them halted every room, again at every restart, since the topic is kept for ever."""
    producer = Producer(producer_options(kafka_settings))
    for number, meter in ((1, "old"), (2, "first"), (2, "second"), (3, "later")):
        append(producer, topic, number, METER.format(name=meter))
    assert producer.flush(30) == 0
    found = topic.read_on(30)
    assert [(one.version.version, sorted(one.content.meters)) for one in found] == [(1, ["old"]), (2, ["first"]), (3, ["later"])]
    refuse_second(found, 2, METER.format(name="first"))
    with pytest.raises(AnswerIsNo, match="a test put another version 2 in force at the same time"):
        refuse_second(found, 2, METER.format(name="second"))
