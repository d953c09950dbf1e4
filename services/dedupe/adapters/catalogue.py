"""The catalogue's timeline as the room needs it: whole, up to an end that is asked for anew each time."""

from __future__ import annotations

from services.dedupe.config import GROUP, Settings
from trueup.contracts.catalogue import Timeline
from trueup.runtime.catalogue_topic import CatalogueTopic
from trueup.runtime.kafka import OffsetsReader


class KafkaCatalogue:
    """Every version from the first on, without a group."""

    def __init__(self, settings: Settings, ends: OffsetsReader) -> None:
        """Begin at the first version; `ends` fetches nothing, so its answer is of the moment it was asked."""
        self._topic = CatalogueTopic(settings, GROUP, ends)
        self._timeline = Timeline()

    def timeline(self) -> Timeline:
        """Every version up to an end asked for in this call; Transient when it could not be reached."""
        for appended in self._topic.read_on():
            self._timeline = self._timeline.with_version(appended.version.version, appended.append_ms, appended.content)
        return self._timeline

    def close(self) -> None:
        """Closes the connections."""
        self._topic.close()
