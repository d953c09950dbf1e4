"""How many decimal places each meter has: said by the service, or learnt from the catalogue's topic."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from trueup.contracts.catalogue import parse
from trueup.contracts.codec import decode_catalogue_version
from trueup.contracts.events import Refusal, RefusalReason
from trueup.contracts.topics import TopicNames
from trueup.publisher.environment import PublisherSettings
from trueup.publisher.errors import Backlogged, InvalidUsage

FIRST_READ_SECONDS = 5.0


class Scales(Protocol):
    """Knows meters."""

    def of(self, meter: str) -> int:
        """Decimal places of a meter; InvalidUsage when there is no such meter."""

    def close(self) -> None:
        """Ends what it holds."""


class SaidScales:
    """What the service says itself; a meter that it does not name is refused, since a guess would be wrong by powers of ten."""

    def __init__(self, scales: Mapping[str, int]) -> None:
        """Keep them."""
        self._scales = dict(scales)

    def of(self, meter: str) -> int:
        """Decimal places of a meter."""
        if meter not in self._scales:
            raise InvalidUsage(_unknown(meter, "scales= does not name it"))
        return self._scales[meter]

    def close(self) -> None:
        """There is nothing to end."""


class LearntScales:
    """Every version of the catalogue, read in the background. A meter's scale never changes, so what is known once stays known."""

    def __init__(self, settings: PublisherSettings) -> None:
        """Begin to read."""
        self._scales: dict[str, int] = {}
        self._newest = 0
        self._read_once = False
        self._lock = threading.Lock()
        self._consumer = Consumer(
            {
                **settings.kafka,
                "bootstrap.servers": settings.bootstrap,
                "client.id": "trueup-publisher-catalogue",
                "group.id": f"{settings.topic_prefix}trueup.publisher",  # never joined: the client insists on a name
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
        self._consumer.assign([TopicPartition(TopicNames(settings.topic_prefix).catalogue, 0, 0)])

    def wait(self, seconds: float) -> None:
        """Read to the end once; a broker that does not answer in this time holds nobody up any longer."""
        give_up_at = time.monotonic() + seconds
        with self._lock:
            while not self._read_once and time.monotonic() < give_up_at:
                self._take(self._consumer.consume(100, 0.1))

    @property
    def meters(self) -> int:
        """How many are known."""
        return len(self._scales)

    def of(self, meter: str) -> int:
        """Decimal places of a meter. Never waits: Backlogged while the catalogue has not been read, or has no version yet."""
        known = self._scales.get(meter)
        if known is not None:
            return known
        with self._lock:
            self._take(self._consumer.consume(100, 0))
            if meter in self._scales:
                return self._scales[meter]
            if not self._read_once or not self._scales:
                raise Backlogged(f"the catalogue was not read yet, so the unit of {meter!r} is not known; this event was not taken")
        raise InvalidUsage(_unknown(meter, "the catalogue does not declare it"))

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is None:
                version = decode_catalogue_version(message.value() or b"")
                # Of two under one number the first is in force.
                if version.version > self._newest:
                    self._newest = version.version
                    self._scales |= {name: meter.scale for name, meter in parse(version.content_toml).meters.items()}
            elif error.code() == KafkaError._PARTITION_EOF:
                self._read_once = True

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()


def _unknown(meter: str, why: str) -> Refusal:
    return Refusal(RefusalReason.UNKNOWN_METER, None, f"meter {meter!r} is not known: {why}")
