"""The catalogue's topic, read whole and appended to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from trueup.cli.target import Target
from trueup.contracts.catalogue import Catalogue, CatalogueVersion, parse
from trueup.contracts.codec import decode_catalogue_version, encode_catalogue_version
from trueup.contracts.errors import Transient
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, Options, client_options, producer_options

READ_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Appended:
    """A version as it stands on the topic."""

    append_ms: int
    version: CatalogueVersion

    @property
    def catalogue(self) -> Catalogue:
        """What the version says."""
        return parse(self.version.content_toml)


def read_versions(target: Target) -> list[Appended]:
    """Every version, oldest first."""
    name = TopicNames(target.settings.topic_prefix).catalogue
    options: Options = {**client_options(target.settings), "group.id": "trueup.catalogue-tool", "enable.auto.commit": False}
    consumer = Consumer({**options, "auto.offset.reset": "error", "isolation.level": "read_committed", "enable.partition.eof": True})
    try:
        low, _ = consumer.get_watermark_offsets(TopicPartition(name, 0), timeout=REQUEST_TIMEOUT_SECONDS)
        consumer.assign([TopicPartition(name, 0, low)])
        return list(_until_the_end(consumer, name))
    finally:
        consumer.close()


def _until_the_end(consumer: Consumer, name: str) -> list[Appended]:
    found: list[Appended] = []
    while True:
        message = consumer.poll(READ_TIMEOUT_SECONDS)
        if message is None:
            raise Transient(f"{name} gave neither a record nor its end within {READ_TIMEOUT_SECONDS:.0f} s")
        fault = message.error()
        if fault is None:
            found.append(_appended(message))
        elif fault.code() == KafkaError._PARTITION_EOF:
            return found
        else:
            raise KafkaException(fault)


def _appended(message: Message) -> Appended:
    _, append_ms = message.timestamp()
    return Appended(append_ms, decode_catalogue_version(message.value() or b""))


def newest_catalogue(target: Target) -> Catalogue | None:
    """The newest version's content, in force or about to be."""
    versions = read_versions(target)
    return versions[-1].catalogue if versions else None


def scales(target: Target) -> Mapping[str, int]:
    """The decimal places of every meter known."""
    catalogue = newest_catalogue(target)
    return {} if catalogue is None else {name: meter.scale for name, meter in catalogue.meters.items()}


def append(target: Target, version: CatalogueVersion) -> None:
    """Appends a version and returns when the broker has it."""
    producer = Producer(producer_options(target.settings))
    failures: list[KafkaError] = []

    def delivered(fault: KafkaError | None, _: Message) -> None:
        if fault is not None:
            failures.append(fault)

    # The topic carries the append time; only under the simulated clock it is ours to say.
    record_time_ms = target.clock.now_ms() if target.clock.simulated else 0
    producer.produce(
        TopicNames(target.settings.topic_prefix).catalogue,
        key=str(version.version).encode(),
        value=encode_catalogue_version(version),
        timestamp=record_time_ms,
        on_delivery=delivered,
    )
    left = producer.flush(REQUEST_TIMEOUT_SECONDS)
    if failures:
        raise KafkaException(failures[0])
    if left:
        raise Transient(f"the broker did not acknowledge catalogue version {version.version} within {REQUEST_TIMEOUT_SECONDS:.0f} s")
