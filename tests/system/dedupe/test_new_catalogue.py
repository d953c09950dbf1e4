"""A catalogue version that comes in mid-stream decides what arrives from 60 s after its append time on, and nothing before that."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from devstack.process import wait_until
from services.dedupe import metrics
from services.dedupe.adapters.books import KafkaBooks
from services.dedupe.adapters.catalogue import KafkaCatalogue
from services.dedupe.adapters.ends import KafkaEnds
from services.dedupe.adapters.source import KafkaSource
from services.dedupe.adapters.transaction import KafkaTransaction
from services.dedupe.app.standing import Board
from services.dedupe.app.stream import Ports, Stream
from services.dedupe.config import Settings
from services.dedupe.ports import Fetched
from tests.conftest import MakeTopics
from tests.makers.dedupe_stories import BEGIN_MS, FIRST, HOUR_MS, SECOND, event
from tests.makers.dedupe_topics import Topics
from tests.system.dedupe.conftest import MakeWorker
from trueup.contracts.codec import Decoder, encode_event
from trueup.runtime.clock import SystemClock
from trueup.runtime.kafka import OffsetsReader
from trueup.runtime.loop import Stop
from trueup.runtime.settings import StreetSettings

APPENDED_MS = BEGIN_MS + HOUR_MS
IN_FORCE_MS = APPENDED_MS + 60_000
# Late by the second version's 15 minutes, on time by the first one's 45.
AGE_MS = 30 * 60_000

AFTER_THE_READ = "a batch was read"
END_ASKED_FOR = "the catalogue's end was asked for"
DECIDED = "the batch is written"


@pytest.fixture
def past_street(kafka_settings: StreetSettings, make_topics: MakeTopics) -> Topics:
    """Topics on which records say themselves when they arrived, with the first version on the catalogue's."""
    street = Topics(kafka_settings.model_copy(update={"topic_prefix": make_topics(simulated=True).prefix}))
    street.apply_catalogue(FIRST, append_ms=BEGIN_MS)
    return street


def publish(street: Topics, id: str, arrival_ms: int, **changes: object) -> None:
    """One event of the same age, at an arrival."""
    street.publish(encode_event(event(id, arrival_ms - AGE_MS, **changes)), 0, arrival_ms)


def places(street: Topics) -> dict[int, str]:
    """The topic that each source offset ended on."""
    names = street.names
    return {found.source[1]: topic for topic in (names.on_time, names.late, names.rejected) for found in street.read(topic, 0)}


def test_a_version_in_mid_stream_decides_from_its_append_time_and_60_seconds_on(
    past_street: Topics, make_worker: MakeWorker, tmp_path: Path
) -> None:
    """A worker that waits for usage hears of the version with the very batch that it decides: late and known only on its far side."""
    street = past_street
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("<q", BEGIN_MS))
    worker = make_worker("dedupe-1", street.settings, clock=f"simulated:{clock}")
    publish(street, "first", BEGIN_MS)
    street.flush()
    worker.start()
    assert wait_until(lambda: street.unread() == 0, 60, 0.05), worker.said()

    street.apply_catalogue(SECOND, version=2, append_ms=APPENDED_MS)
    for number, arrival_ms in enumerate((APPENDED_MS - 1, APPENDED_MS, IN_FORCE_MS - 1, IN_FORCE_MS, IN_FORCE_MS + 1)):
        publish(street, f"tokens-{number}", arrival_ms)
        publish(street, f"runs-{number}", arrival_ms, meter="runs")
    street.flush()
    assert wait_until(lambda: street.unread() == 0, 60, 0.05), worker.said()
    names = street.names
    before, after = [names.on_time, names.rejected], [names.late, names.on_time]
    assert places(street) == dict(enumerate([names.on_time, *before * 3, *after * 2]))
    assert [record.catalogue_version for record in street.progress(0)][:: len(street.progress(0)) - 1] == [1, 2]


class HeardEnds(OffsetsReader):
    """The real client, which notes each question for the catalogue's end."""

    def __init__(self, settings: StreetSettings, catalogue: str, heard: list[str]) -> None:
        super().__init__(settings)
        self._catalogue = catalogue
        self._heard = heard

    def low_and_high(self, topic: str, partition: int, timeout_seconds: float = 10.0) -> tuple[int, int]:
        """As ever."""
        if topic == self._catalogue:
            self._heard.append(END_ASKED_FOR)
        return super().low_and_high(topic, partition, timeout_seconds)


class HeardSource(KafkaSource):
    """The real source; between the fetching of a batch and its deciding something may happen elsewhere."""

    def __init__(self, settings: Settings, topic: str, heard: list[str], meanwhile: Callable[[], None]) -> None:
        super().__init__(settings, topic, simulated=True)
        self._heard = heard
        self._meanwhile = meanwhile

    def read(self, most: int, wait_seconds: float) -> Fetched:
        """As ever."""
        fetched = super().read(most, wait_seconds)
        if fetched.records:
            self._heard.append(AFTER_THE_READ)
            self._meanwhile()
        return fetched


class HeardTransaction(KafkaTransaction):
    """The real transaction."""

    heard: list[str]

    def begin(self) -> None:
        """As ever."""
        self.heard.append(DECIDED)
        super().begin()


@pytest.fixture
def make_stream(past_street: Topics) -> Iterator[Callable[[list[str], Callable[[], None]], Stream]]:
    """The room's stream in this process, on the real ports, each of which notes what it is asked."""
    with ExitStack() as closing:

        def make(heard: list[str], meanwhile: Callable[[], None]) -> Stream:
            names = past_street.names
            settings = Settings(**past_street.settings.model_dump())
            ends = KafkaEnds(settings, names.usage_events)
            books = KafkaBooks(settings, names.progress, ends)
            heard_ends = HeardEnds(settings, names.catalogue, heard)
            catalogue = KafkaCatalogue(settings, heard_ends)
            source = HeardSource(settings, names.usage_events, heard, meanwhile)
            transaction = HeardTransaction(settings, names)
            transaction.heard = heard
            for client in (ends, books, heard_ends, catalogue, source):
                closing.callback(client.close)
            registry = metrics.registry(names.usage_events, settings.partitions, settings.room)
            ports = Ports(source, transaction, books, catalogue, ends)
            return Stream(
                ports,
                Decoder(),
                names.usage_events,
                settings.batch_records,
                registry,
                Board(),
                Stop(),
                SystemClock(),
                settings.quiet_seconds,
            )

        yield make


def test_the_catalogues_end_is_asked_for_after_the_batch_was_read(
    past_street: Topics, make_stream: Callable[[list[str], Callable[[], None]], Stream]
) -> None:
    """Each batch is read, then the end is asked for, then it is decided: a version appended in between is no secret to it."""
    street, heard = past_street, list[str]()

    def meanwhile() -> None:
        if DECIDED in heard:
            street.apply_catalogue(SECOND, version=2, append_ms=APPENDED_MS)

    stream = make_stream(heard, meanwhile)
    stream.join()
    arrivals: Mapping[str, int] = {"first": BEGIN_MS, "tokens": IN_FORCE_MS}
    for id, arrival_ms in arrivals.items():
        publish(street, id, arrival_ms)
        street.flush()
        assert wait_until(lambda: stream.step() > 0, 60)
    names = street.names
    assert places(street) == {0: names.on_time, 1: names.late}
    batches = [heard[number - 2 : number + 1] for number, what in enumerate(heard) if what == DECIDED]
    assert batches == [[AFTER_THE_READ, END_ASKED_FOR, DECIDED]] * 2
