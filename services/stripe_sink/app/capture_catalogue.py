"""Which catalogue decided what capture writes: followed on its topic, and kept in the ledger as it was read."""

from __future__ import annotations

from trueup.contracts.catalogue import Timeline
from trueup.ledger.store import catalogue
from trueup.ledger.store.session import Session
from trueup.runtime.catalogue_topic import Appended, CatalogueTopic


class CaptureCatalogue:
    """The timeline of versions. A version counts once it stands in the ledger too."""

    def __init__(self, topic: CatalogueTopic, session: Session) -> None:
        self._topic = topic
        self._session = session
        self._read: list[Appended] = []
        self._unrecorded: list[Appended] = []
        self.timeline = Timeline()

    @property
    def newest(self) -> int:
        """The newest version known, 0 without any."""
        return self.timeline.versions[-1].version if self.timeline.versions else 0

    @property
    def seen(self) -> int:
        """Up to where the topic was read and recorded."""
        return -1 if self._unrecorded else self._topic.seen

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._topic.topic

    def refresh(self) -> int:
        """Read up to an end asked for now, and record what is new; Transient when either cannot be done yet."""
        appended = self._topic.read_on()
        self._read += appended
        self._unrecorded += appended
        recorded = 0
        while self._unrecorded:
            self._record(self._unrecorded[0])
            self._unrecorded.pop(0)
            recorded += 1
        return recorded

    def record_again(self) -> None:
        """Begin with the first version: the ledger that answers from now on may hold none of them."""
        self._unrecorded = list(self._read)
        self.timeline = Timeline()

    def _record(self, appended: Appended) -> None:
        version = appended.version
        timeline = self.timeline.with_version(version.version, appended.append_ms, appended.content)
        in_force = next(entry for entry in timeline.versions if entry.version == version.version)
        self._session.run(lambda connection: catalogue.record_version(connection, version, appended.append_ms, in_force))
        self.timeline = timeline
