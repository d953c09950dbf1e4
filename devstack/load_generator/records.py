"""From deliveries to Kafka: bytes in both framings, whole and damaged, and a producer that sets arrival and partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from devstack.load_generator.deliveries import Damage, Delivery
from trueup.contracts.codec import MAX_RECORD_BYTES, Framing, encode_event
from trueup.contracts.events import UsageEvent
from trueup.contracts.keys import partition_of

CONFLUENT_SCHEMA_ID = 1
UNKNOWN_SCHEMA_ID = 999_983
FLUSH_SECONDS = 60.0


def encoded(delivery: Delivery) -> bytes:
    """The whole record of a fact, in the framing of its delivery."""
    usage = delivery.usage
    items = list(usage.dimensions.items())
    event = UsageEvent(
        id=usage.id,
        source=usage.source,
        event_time_ms=usage.event_time_ms,
        meter=usage.meter,
        customer=usage.customer,
        quantity=usage.quantity,
        reason=usage.reason,
        corrects=usage.corrects,
        dimensions=dict(reversed(items) if delivery.dimensions_reversed else items),
    )
    if not delivery.confluent:
        return encode_event(event)
    schema_id = UNKNOWN_SCHEMA_ID if delivery.damage is Damage.UNKNOWN_SCHEMA_ID else CONFLUENT_SCHEMA_ID
    return encode_event(event, framing=Framing.CONFLUENT, confluent_schema_id=schema_id)


def oversize(delivery: Delivery) -> bytes:
    """A right record of one byte more than is read: its dimension is as long as it takes."""
    filled = 60_000
    probe = encoded(replace(delivery, usage=replace(delivery.usage, dimensions={"filler": "x" * filled})))
    filler = "x" * (filled + MAX_RECORD_BYTES + 1 - len(probe))
    return encoded(replace(delivery, usage=replace(delivery.usage, dimensions={"filler": filler})))


def record(delivery: Delivery) -> bytes | None:
    """The value that goes on the topic."""
    match delivery.damage:
        case None | Damage.UNKNOWN_SCHEMA_ID:
            return encoded(delivery)
        case Damage.NULL:
            return None
        case Damage.EMPTY:
            return b""
        case Damage.GARBAGE:
            return b"\xff\xfe this was never an event " + delivery.usage.id.encode()
        case Damage.TRUNCATED:
            return encoded(delivery)[:-3]
        case Damage.TRAILING:
            return encoded(delivery) + b"\x00\x01"
        case Damage.UNKNOWN_FINGERPRINT:
            whole = encoded(delivery)
            return whole[:2] + bytes(8) + whole[10:]
        case Damage.OVERSIZE:
            return oversize(delivery)


class RecordProducer:
    """Publishes deliveries as they are, also what no publisher would let through; raises if the broker refuses any."""

    def __init__(self, options: Mapping[str, Any], topic: str, partitions: int, *, stamp_arrival: bool) -> None:
        self.topic, self.partitions, self.stamp_arrival = topic, partitions, stamp_arrival
        self.failures: list[str] = []
        self.producer = Producer(
            {
                **options,
                # The street goes down before this client does, and what it says of that is noise; refused records are kept below.
                "log_level": 2,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 20,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
            }
        )

    def publish(self, deliveries: Iterable[Delivery], sent: Callable[[], None] = lambda: None) -> int:
        """Publishes in the order given, partition by partition, and returns when the broker has everything."""
        count = 0
        for delivery in deliveries:
            self.produce(delivery)
            count += 1
            sent()
        left = self.producer.flush(FLUSH_SECONDS)
        if left or self.failures:
            raise RuntimeError(f"{left} records unsent after {FLUSH_SECONDS:.0f} s, {len(self.failures)} refused: {self.failures[:3]}")
        return count

    def produce(self, delivery: Delivery) -> None:
        """Hands one record to librdkafka, waiting while its queue is full."""
        key = delivery.usage.customer.encode()
        partition = (partition_of(key, self.partitions) + delivery.partition_shift) % self.partitions
        timestamp = delivery.arrival_ms if self.stamp_arrival else 0
        while True:
            try:
                self.producer.produce(
                    self.topic, value=record(delivery), key=key, partition=partition, timestamp=timestamp, on_delivery=self.delivered
                )
            except BufferError:
                self.producer.poll(0.1)
            else:
                self.producer.poll(0)
                return

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """Keeps what the broker refused."""
        if error is not None:
            self.failures.append(f"{message.partition()}: {error.str()}")
