"""The catalogue, followed beside the event loop."""

from __future__ import annotations

import threading

from confluent_kafka import KafkaException

from services.ingest.config import GROUP, Settings
from services.ingest.metrics import CATALOGUE_VERSION
from trueup.contracts.catalogue import Catalogue, Timeline
from trueup.contracts.errors import Broken, Transient
from trueup.runtime.catalogue_topic import CatalogueTopic
from trueup.runtime.kafka import OffsetsReader
from trueup.runtime.metrics import Registry
from trueup.runtime.web import Health

LOOK_SECONDS = 0.5


class FollowedCatalogue:
    """Every version there is, half a second after it was applied. A meter's scale never changes, so that half second costs nothing."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._timeline = Timeline()
        self._why = "the catalogue was not read yet"
        self.failure: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="catalogue", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._registry.set(CATALOGUE_VERSION, 0)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(LOOK_SECONDS * 4)

    def at(self, now_ms: int) -> Catalogue:
        """What is in force at this date; Transient while there is nothing."""
        try:
            _, catalogue = self._timeline.in_force_at(now_ms)
        except LookupError as missing:
            raise Transient(f"no catalogue is in force: {self._why}") from missing
        return catalogue

    def health(self) -> Health:
        """Whether there is a catalogue."""
        return Health(bool(self._timeline.versions), self._why)

    def _follow(self) -> None:
        ends = OffsetsReader(self._settings)
        topic = CatalogueTopic(self._settings, GROUP, ends)
        try:
            while not self._stopping.is_set():
                self._read(topic)
                self._stopping.wait(LOOK_SECONDS)
        except (Broken, KafkaException) as fault:
            # Read by the room, whose process ends: half a catalogue must not judge anything.
            self.failure = fault
        finally:
            topic.close()
            ends.close()

    def _read(self, topic: CatalogueTopic) -> None:
        try:
            for appended in topic.read_on():
                self._timeline = self._timeline.with_version(appended.version.version, appended.append_ms, appended.content)
                self._registry.set(CATALOGUE_VERSION, appended.version.version)
            self._why = "the catalogue is followed" if self._timeline.versions else "no catalogue was applied yet"
        except Transient as away:
            self._why = str(away)
