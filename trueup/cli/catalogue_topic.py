"""The catalogue's topic, read whole and appended to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from trueup.cli.target import Target
from trueup.contracts.catalogue import Catalogue, CatalogueVersion
from trueup.contracts.codec import encode_catalogue_version
from trueup.contracts.errors import Transient
from trueup.contracts.topics import TopicNames
from trueup.runtime.catalogue_topic import Appended, CatalogueTopic
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, OffsetsReader, producer_options


def read_versions(target: Target) -> list[Appended]:
    """Every version, oldest first."""
    with closing(OffsetsReader(target.settings)) as ends, closing(CatalogueTopic(target.settings, "trueup.catalogue-tool", ends)) as topic:
        try:
            return topic.read_on(REQUEST_TIMEOUT_SECONDS)
        except Transient as away:
            # A room asks again; a command says in one sentence that Kafka does not answer.
            raise (away.__cause__ if isinstance(away.__cause__, KafkaException) else away) from None


def newest_catalogue(target: Target) -> Catalogue | None:
    """The newest version's content, in force or about to be."""
    versions = read_versions(target)
    return versions[-1].content if versions else None


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
