"""A real ingest room as a process, with keys, a catalogue, and readers of what it wrote."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from devstack.places import LOOPBACK, free_port
from tests.makers.room_process import RoomProcess
from tests.makers.room_process import bearer as bearer
from tests.makers.room_process import make_key as make_key
from trueup.contracts.catalogue import CatalogueVersion
from trueup.contracts.codec import encode_catalogue_version
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import OffsetsReader, client_options, producer_options
from trueup.runtime.settings import StreetSettings

SECRET, OLD_SECRET = "whsec_of_this_street", "whsec_of_before"
CATALOGUE = """
[meter.input_tokens]
unit = "token"
stripe_event_name = "input_tokens"

[meter.hours]
unit = "hour"
scale = 3
stripe_event_name = "hours"

[policy]
finalization_grace = "PT24H"
"""


class IngestRoom(RoomProcess):
    """One room: its process, its doors, its probes, its log."""

    def __init__(self, settings: StreetSettings, folder: Path, **environment: str) -> None:
        self.settings = settings
        self.port = free_port()
        own = {
            "TRUEUP_POSTGRES_DSN": settings.postgres_dsn,
            "TRUEUP_STRIPE_WEBHOOK_SECRET": f"{OLD_SECRET},{SECRET}",
            "TRUEUP_INGEST_PORT": str(self.port),
        }
        super().__init__("ingest", settings, folder, {**own, **environment})

    @property
    def url(self) -> str:
        """The doors."""
        return f"http://{LOOPBACK}:{self.port}"


@contextmanager
def ingest_room(settings: StreetSettings, folder: Path, **environment: str) -> Iterator[IngestRoom]:
    """A room that takes usage; its end must be a clean one."""
    room = IngestRoom(settings, folder, **environment)
    with room.running():
        yield room


def append_catalogue(settings: StreetSettings, text: str = CATALOGUE, version: int = 1) -> None:
    """Put a version of the catalogue on its topic."""
    producer = Producer(producer_options(settings))
    value = encode_catalogue_version(CatalogueVersion(version, text, "test"))
    producer.produce(TopicNames(settings.topic_prefix).catalogue, key=str(version).encode(), value=value)
    assert producer.flush(30) == 0


def an_event(id: str = "req-1", **changed: Any) -> dict[str, Any]:
    """An event as the door takes it; a member given as `...` is left out."""
    event = {"id": id, "source": "inference", "customer": "acme", "meter": "input_tokens", "value": 374, "time": "2026-11-01T09:30:00Z"}
    return {name: value for name, value in (event | changed).items() if value is not ...}


def signed(body: bytes, secret: str = SECRET, at: int | None = None) -> str:
    """A Stripe-Signature header, made as Stripe's documentation says."""
    instant = int(time.time()) if at is None else at
    signature = hmac.new(secret.encode(), f"{instant}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={instant},v1={signature}"


def a_notification(id: str = "evt_1", **changed: Any) -> bytes:
    """A snapshot event as Stripe sends it."""
    about = {"object": "invoice", "id": "in_1", "customer": "cus_acme"}
    event = {"id": id, "object": "event", "type": "invoice.created", "api_version": "2026-10-28.dahlia", "created": 1_793_500_000}
    return json.dumps(event | {"livemode": False, "data": {"object": about}} | changed, indent=2).encode()


def records(settings: StreetSettings, topic: str) -> list[Message]:
    """Every record of a topic up to its end, asked for now."""
    ends = OffsetsReader(settings)
    consumer = Consumer({**client_options(settings), "group.id": "test", "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    try:
        open_ends = {partition: ends.low_and_high(topic, partition) for partition in range(settings.partitions)}
        consumer.assign([TopicPartition(topic, partition, low) for partition, (low, high) in open_ends.items() if high > low])
        wanted = sum(high - low for low, high in open_ends.values())
        found: list[Message] = []
        give_up_at = time.monotonic() + 60
        while len(found) < wanted and time.monotonic() < give_up_at:
            for message in consumer.consume(1_000, 0.5):
                fault = message.error()
                assert fault is None or fault.code() == KafkaError._PARTITION_EOF, fault
                found += [message] if fault is None else []
        return found
    finally:
        consumer.close()
        ends.close()
