"""Every delivery of one event on the source topic: the broker is asked, since the ledger keeps no copy of a dropped duplicate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from trueup.cli.claimed_identity import ClaimedIdentity, claimed_identity
from trueup.cli.target import Target
from trueup.contracts.codec import CONFLUENT_MARKER, Decoder
from trueup.contracts.errors import Transient
from trueup.contracts.events import UsageEvent
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, Options, client_options

BATCH_RECORDS = 5_000
# The client waits this long for a batch to fill, also behind the last record there is.
BATCH_SECONDS = 0.1
SILENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """One record of the source topic that states the event, in whatever words."""

    partition: int
    offset: int
    arrival_ms: int
    framing: str
    stated: UsageEvent | ClaimedIdentity
    """The event, or what the front of bytes says that could not be read whole."""


def scan(target: Target, source: str, id: str) -> list[Delivered]:
    """Reads the whole topic up to its end of just now, all partitions: a second delivery may lie in any of them."""
    name = TopicNames(target.settings.topic_prefix).usage_events
    options: Options = {**client_options(target.settings), "group.id": "trueup.explain", "enable.auto.commit": False}
    consumer = Consumer({**options, "auto.offset.reset": "error", "isolation.level": "read_committed", "enable.partition.eof": True})
    decoder = Decoder(target.settings.confluent_schema_ids)
    try:
        starts = start_positions(consumer, name)
        consumer.assign(starts)
        found = [one for message in until_the_ends(consumer, len(starts)) if (one := delivery(message, decoder, source, id)) is not None]
    finally:
        consumer.close()
    return sorted(found, key=lambda one: (one.arrival_ms, one.partition, one.offset))


def start_positions(consumer: Consumer, name: str) -> list[TopicPartition]:
    """The first kept record of each partition that holds any."""
    partitions = consumer.list_topics(name, timeout=REQUEST_TIMEOUT_SECONDS).topics[name].partitions
    starts = []
    for partition in sorted(partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=REQUEST_TIMEOUT_SECONDS)
        if high > low:
            starts.append(TopicPartition(name, partition, low))
    return starts


def until_the_ends(consumer: Consumer, partitions: int) -> Iterator[Message]:
    """Every record until each partition has shown its end once."""
    ended: set[int] = set()
    silent_until = time.monotonic() + SILENCE_SECONDS
    while len(ended) < partitions:
        messages = consumer.consume(BATCH_RECORDS, BATCH_SECONDS)
        if messages:
            silent_until = time.monotonic() + SILENCE_SECONDS
        elif time.monotonic() > silent_until:
            raise Transient(f"the source topic gave nothing for {SILENCE_SECONDS:.0f} s")
        for message in messages:
            fault = message.error()
            if fault is None:
                yield message
            elif fault.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition() or 0)
            else:
                raise KafkaException(fault)


def delivery(message: Message, decoder: Decoder, source: str, id: str) -> Delivered | None:
    """The delivery that a record is, if it states this event; most records are passed over unread."""
    value = message.value() or b""
    stated = stated_by(value, decoder, source, id)
    if stated is None:
        return None
    framing = "confluent" if value[0] == CONFLUENT_MARKER else "single_object"
    _, arrival_ms = message.timestamp()
    return Delivered(message.partition() or 0, message.offset() or 0, arrival_ms, framing, stated)


def stated_by(value: bytes, decoder: Decoder, source: str, id: str) -> UsageEvent | ClaimedIdentity | None:
    """The event of this identity that bytes hold, or their claim to be one; None when they are about something else."""
    if id.encode() not in value or source.encode() not in value:
        return None
    read = decoder.decode(value)
    stated = read if isinstance(read, UsageEvent) else claimed_identity(value)
    return stated if stated is not None and (stated.source, stated.id) == (source, id) else None
