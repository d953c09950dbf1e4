"""Writes what the dedupe room writes, in transactions of its own, and runs sinks that read it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Producer

from devstack.places import free_port
from devstack.process import Command, spawn, wait_until
from services.stripe_sink.core.capture import Announced
from tests.makers.capture_batches import CATALOGUE_TOML, make_announced, make_forwarded, make_rejected
from trueup.contracts.catalogue import CatalogueVersion
from trueup.contracts.codec import encode_catalogue_version, encode_progress
from trueup.contracts.events import UsageEvent
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import producer_options, transactional_producer_options
from trueup.runtime.settings import StreetSettings

Delivery = tuple[UsageEvent, bool] | bytes


@dataclass
class Announcer:
    """Stands where the dedupe room stands: chains progress records per partition, one Kafka transaction a call."""

    settings: StreetSettings
    next_offset: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = TopicNames(self.settings.topic_prefix)
        self._producer = Producer(transactional_producer_options(self.settings, "announcer"))
        self._producer.init_transactions(30)

    def apply_catalogue(self, text: str = CATALOGUE_TOML, version: int = 1) -> int:
        """Append a version to the catalogue's topic; gives its append time."""
        appended: list[int] = []
        plain = Producer(producer_options(self.settings))
        plain.produce(
            self.names.catalogue,
            encode_catalogue_version(CatalogueVersion(version, text, "test")),
            key=str(version),
            on_delivery=lambda _fault, message: appended.append(message.timestamp()[1]),
        )
        assert plain.flush(30) == 0
        return appended[0]

    def announce(self, partition: int, deliveries: Iterable[Delivery], *, abort: bool = False) -> Announced:
        """One progress record over these deliveries; bytes stand for a refused record. Aborted, it never happened."""
        first = self.next_offset.get(partition, 0)
        on_time, late, rejected = [], [], []
        for offset, delivery in enumerate(deliveries, start=first):
            if isinstance(delivery, bytes):
                rejected.append(make_rejected(offset, delivery))
            else:
                (late if delivery[1] else on_time).append(make_forwarded(offset, delivery[0]))
        announced = make_announced(partition=partition, first_offset=first, on_time=on_time, late=late, rejected=rejected)
        self.write(announced, abort=abort)
        if not abort:
            self.next_offset[partition] = announced.progress.next_offset
        return announced

    def write(self, announced: Announced, *, abort: bool = False) -> None:
        """Put a progress record and its records on the topics, true or not."""
        partition = announced.progress.source_partition
        producer = self._producer
        producer.begin_transaction()
        for topic, records in (
            (self.names.on_time, announced.on_time),
            (self.names.late, announced.late),
            (self.names.rejected, announced.rejected),
        ):
            for record in records:
                headers = {"trueup-arrival": b"%d" % record.arrival_ms, "trueup-source": b"%d:%d" % (partition, record.source_offset)}
                if topic == self.names.rejected:
                    headers["trueup-reason"] = b"undecodable"
                producer.produce(topic, record.value, partition=partition, headers=list(headers.items()))
        producer.produce(self.names.progress, encode_progress(announced.progress), partition=partition)
        if abort:
            producer.flush(30)
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)


@dataclass
class Sink:
    """A real process of the room."""

    settings: StreetSettings
    room: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    # A module that wraps the room to stop it at a place, and what it is told.
    command: tuple[str, ...] = ("services.stripe_sink",)

    def __post_init__(self) -> None:
        self.port = free_port()
        self.log = self.folder / f"{self.room}.log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {
            "TRUEUP_ROOM": self.room,
            "TRUEUP_KAFKA_BOOTSTRAP": self.settings.kafka_bootstrap,
            "TRUEUP_TOPIC_PREFIX": self.settings.topic_prefix,
            "TRUEUP_PARTITIONS": str(self.settings.partitions),
            "TRUEUP_POSTGRES_DSN": self.settings.postgres_dsn,
            "TRUEUP_HTTP_PORT": str(self.port),
            # Nothing is armed here, so nobody is ever called.
            "TRUEUP_STRIPE_URL": "http://127.0.0.1:9",
            "TRUEUP_STRIPE_API_KEY": "sk_test_nobody",
            **self.environment,
        }
        return spawn(Command((sys.executable, "-m", *self.command), environment), self.log)

    def start_again(self) -> None:
        """As the supervisor does after a death: same name, same port."""
        self.process.wait(30)
        self.process = self._start()

    def ask(self, path: str) -> dict[str, object] | None:
        """What the room answers; None when it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return dict(json.load(answer))
        except OSError:
            return None

    def owns(self) -> set[int]:
        """The partitions that it says it captures."""
        activity = self.ask("/activity") or {}
        owns = activity.get("owns", ())
        assert isinstance(owns, list | tuple)
        return {int(str(name).partition(":")[2]) for name in owns if str(name).startswith("capture:")}

    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return bool((self.ask("/activity") or {}).get("idle"))

    def stands_still(self) -> bool:
        """Whether a stop signal holds it."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def stop(self) -> None:
        """End it, whatever it is doing."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)


def wait_for_all_idle(sinks: Iterable[Sink], partitions: int, seconds: float = 60.0) -> None:
    """Until the sinks together own everything and have nothing left."""
    held = list(sinks)

    def done() -> bool:
        return all(sink.idle() for sink in held) and set().union(*(sink.owns() for sink in held)) == set(range(partitions))

    assert wait_until(done, seconds, 0.2), [sink.ask("/activity") for sink in held]
