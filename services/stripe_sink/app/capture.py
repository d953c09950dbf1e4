"""Capture: from four topics into the ledger, one transaction a batch. No position moves before its rows are committed.

A ledger that is away stops nothing for good: reading goes on until enough waits, and the same batch is tried again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaException

from services.stripe_sink.adapters.capture_ends import CaptureEnds
from services.stripe_sink.adapters.capture_topics import At, CaptureTopics
from services.stripe_sink.adapters.shown_positions import decided_positions
from services.stripe_sink.app.capture_catalogue import CaptureCatalogue
from services.stripe_sink.app.capture_closing import CaptureClosing
from services.stripe_sink.app.capture_gauges import CaptureGauges
from services.stripe_sink.app.restored import disarm_restored
from services.stripe_sink.config import CAPTURE_GROUP, Settings
from services.stripe_sink.core import capture as core
from services.stripe_sink.core.inflow import Beginning, Inflow, Kind, Step, reading_from
from services.stripe_sink.core.restored import behind
from services.stripe_sink.metrics import capture as metrics
from trueup.contracts.codec import Decoder, decode_progress
from trueup.contracts.errors import Broken, Poison, Transient
from trueup.ledger import migrate
from trueup.ledger.store import capture as ledger
from trueup.ledger.store.dispatch import arming
from trueup.ledger.store.session import Connection, Session
from trueup.runtime import log
from trueup.runtime.catalogue_topic import CatalogueTopic
from trueup.runtime.kafka import OffsetsReader
from trueup.runtime.metrics import Registry
from trueup.runtime.web import Activity, Health

READ_RECORDS = 10_000
IDLE_WAIT_SECONDS, BUSY_WAIT_SECONDS = 0.1, 0.005
CATALOGUE_SECONDS = 1.0
LOOK_BACK_SECONDS = 5.0
MEASURE_SECONDS = 5.0
LIVE_SECONDS = 120.0
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.1, 5.0
# Who was refused has either lost the partition, and hears of it when the group has noticed, or must take it again.
RETAKE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Status:
    """What the last round left, for those who ask from other threads."""

    ends: Mapping[At, int] = field(default_factory=dict)
    owned: frozenset[int] = frozenset()
    catalogue_seen: int = -1
    busy_with: str = "starting"
    trouble: str = "no partitions were assigned yet"
    work: int = 0
    at_seconds: float = 0.0


class Capture:
    """The capture half of the sink. `step` is one round; only the thread that calls it touches the working state."""

    def __init__(self, settings: Settings, registry: Registry, before_use: Callable[[Connection], None] | None = None) -> None:
        self._settings = settings
        self._registry = registry
        self._log = log.get("capture")
        # Two processes of one name must not be taken for each other in what is written down.
        self._holder = f"{settings.room}/{os.getpid()}"
        self._before_use = before_use
        self._server: str | None = None
        self._session = Session(settings.postgres_dsn, f"trueup-{self._holder}/capture", before_use=self._meet)
        self._topics = CaptureTopics(settings)
        self._ends_reader = OffsetsReader(settings)
        self._catalogue_topic = CatalogueTopic(settings, CAPTURE_GROUP, self._ends_reader)
        self._catalogue = CaptureCatalogue(self._catalogue_topic, self._session)
        self._closing = CaptureClosing(self._session)
        self._decode = Decoder(settings.confluent_schema_ids).decode_batch
        self._inflows: dict[int, Inflow] = {}
        self._looked: set[int] = set()  # partitions of which it was found out, since they were assigned, where a new ledger begins
        # How far the progress topic was captured here, also of partitions that went to another sink since: the ledger is never behind it.
        self._reached: dict[int, int] = {}
        self._broker = CaptureEnds(self._ends_reader, self._topics.topic)
        self._gauges = CaptureGauges(registry, self._topics.topic, self._ends_reader)
        self._ends: dict[At, int] = {}
        self._paused: set[At] = set()
        self._work = 0
        self._trouble = ""
        self._schema_seen = False
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._not_before = self._retake_at = self._ask_decided_at = self._look_back_at = self._catalogue_at = self._measure_at = 0.0
        self._status = _Status(at_seconds=time.monotonic())
        self._asking = threading.Lock()
        self._asking_ends = OffsetsReader(settings)

    def start(self) -> None:
        """Join the group."""
        self._topics.subscribe()

    def step(self) -> int:
        """One round: read, take over what was assigned, capture whole batches. Gives how many events were captured."""
        self._read()
        handled = 0
        if time.monotonic() >= self._not_before:
            try:
                if time.monotonic() >= self._look_back_at:
                    self._look_back()
                self._take_over()
                self._look_for_beginnings()
                self._follow_catalogue()
                handled = self._capture_all()
                self._trouble = ""
                self._retry_seconds = FIRST_RETRY_SECONDS
            except Transient as away:
                self._wait_for(away)
        self._mind_limits()
        self._measure()
        self._publish()
        return handled

    def close(self) -> None:
        """Let go of everything; what was not committed is read again by whoever comes next."""
        self._topics.close()
        self._catalogue_topic.close()
        self._ends_reader.close()
        self._session.close()
        with self._asking:
            self._asking_ends.close()

    def live(self) -> Health:
        """Whether rounds go on."""
        age_seconds = time.monotonic() - self._status.at_seconds
        return Health(age_seconds < LIVE_SECONDS, f"the last round ended {age_seconds:.0f} s ago")

    def ready(self) -> Health:
        """Whether what arrives now would reach the ledger."""
        status = self._status
        return Health(not status.trouble, status.trouble or f"captures {len(status.owned)} partitions")

    def activity(self) -> Activity:
        """Idle when every topic stands at the end that it has right now, open transactions included, and nothing waits."""
        status = self._status
        owns = tuple(f"capture:{partition}" for partition in sorted(status.owned))
        why = status.busy_with or status.trouble
        if not why:
            try:
                with self._asking:
                    why = self._behind(status)
            except KafkaException as failure:
                why = f"the broker does not say where topics end: {failure}"
        return Activity(not why, status.work, None, owns, why or "idle")

    def _behind(self, status: _Status) -> str:
        ends = self._asking_ends
        if ends.low_and_high(self._catalogue.topic, 0)[1] != status.catalogue_seen:
            return "a catalogue version was appended"
        for (kind, partition), end in status.ends.items():
            if ends.low_and_high(self._topics.topic[kind], partition)[1] != end:
                return f"{kind.value} of partition {partition} goes on"
        return ""

    def _read(self) -> None:
        waits = any(inflow.waiting(Kind.PROGRESS) for inflow in self._inflows.values())
        fetched = self._topics.read(READ_RECORDS, BUSY_WAIT_SECONDS if waits and not self._trouble else IDLE_WAIT_SECONDS)
        if fetched is None:
            self._inflows.clear()
            self._looked.clear()
            self._retake_at = 0.0
            return
        for kind, partition, raw in fetched.records:
            inflow = self._inflows.get(partition)
            if inflow is None:
                continue  # fenced: read again from the ledger's position once it is taken back
            self._ends.pop((kind, partition), None)
            if kind is not Kind.PROGRESS:
                inflow.add(kind, raw)
                continue
            try:
                inflow.add_progress(raw.offset, decode_progress(raw.value or b""))
            except Poison as fault:
                raise Broken(f"{self._topics.topic[kind]} {partition}:{raw.offset}: {fault}") from fault
        self._ends |= fetched.ends

    def _meet(self, connection: Connection) -> None:
        """Look at a new connection: files are put back under a stopped server only, and behind a new start may stand an older ledger.

        Where all partitions are level nothing else would tell: a subject that only the lost ledger had numbered is no step back.
        """
        if self._before_use is not None:
            self._before_use(connection)
        server = arming.server_start(connection)
        known, self._server = self._server, server
        if known is not None and known != server:
            self._begin_anew()
            raise Transient("the ledger's server was started anew: what was known of the ledger is asked for again")

    def _look_back(self) -> None:
        """Begin anew when the ledger stands behind us: it was put back from a copy, which nobody announces.

        Our positions are those of rows that were committed before, and another owner only moves on from there: a healthy ledger
        is never behind them. Put back under a running server it may be armed still, and the guard does not look a second time.
        """
        if not self._reached:
            return
        held = self._session.run(lambda connection: ledger.positions(connection, self._topics.topic[Kind.PROGRESS]))
        self._look_back_at = time.monotonic() + LOOK_BACK_SECONDS
        partitions = behind(self._reached, held)
        if partitions:
            self._session.run(lambda connection: disarm_restored(connection, partitions))
            self._reached.clear()
            self._begin_anew()
            raise Transient(f"the ledger stands behind what was captured, in partitions {partitions}: it is read again")

    def _begin_anew(self) -> None:
        """Forget whatever a ledger said that may be gone; everything is read again from where the one that answers now stands."""
        self._inflows.clear()
        self._looked.clear()
        self._catalogue.record_again()
        self._closing = CaptureClosing(self._session)
        self._schema_seen = False
        self._retake_at = self._catalogue_at = 0.0

    def _take_over(self) -> None:
        """Claim what was assigned and is not held, then read everything from where the ledger stands."""
        assigned = self._topics.assigned or frozenset()
        missing = sorted(assigned - self._inflows.keys())
        if not missing or time.monotonic() < self._retake_at:
            return
        if not self._schema_seen:
            self._session.run(migrate.require_current)
            self._schema_seen = True
        # Before anything is shown to Kafka of what the ledger says now: what was shown is the other thing that a lost past is known by.
        self._look_back()
        beginnings = {partition: self._broker.beginnings(partition) for partition in [*self._inflows, *missing]}
        taken = {partition: self._claim(partition, beginnings[partition]) for partition in missing}
        # Whoever is held already is read anew too: the client knows only whole assignments.
        self._inflows = {partition: inflow.again() for partition, inflow in self._inflows.items()} | taken
        self._ends.clear()
        self._paused.clear()
        self._topics.begin(
            {
                partition: {kind: reading_from(position, beginnings[partition][kind]) for kind, position in inflow.positions.items()}
                for partition, inflow in self._inflows.items()
            }
        )
        for partition, inflow in taken.items():
            self._reached[partition] = inflow.positions[Kind.PROGRESS]
            # Also where nothing new comes for a while: what is shown is what a restored ledger is told by.
            self._topics.show_positions(partition, inflow.positions)
        self._log.info("took over", partitions=missing)

    def _look_for_beginnings(self) -> None:
        """Of a new ledger on topics whose first records are gone."""
        found = {
            partition: beginning
            for partition, inflow in self._inflows.items()
            if inflow.looks_for_its_beginning
            and (beginning := inflow.look(self._broker.read_to_their_ends(partition, self._ends))) is not None
        }
        unannounced = [partition for partition, beginning in found.items() if beginning.source_offset is None]
        decided = None
        if unannounced and time.monotonic() >= self._ask_decided_at:
            self._ask_decided_at = time.monotonic() + RETAKE_SECONDS
            decided = decided_positions(self._settings)
        for partition in unannounced:
            if decided is None or self._broker.read_to_their_ends(partition, self._ends) != set(Kind):
                del found[partition]  # what was decided meanwhile stands on the topics now, and is read first
        for partition, beginning in found.items():
            self._begin(self._inflows[partition], beginning, (decided or {}).get(partition))

    def _begin(self, inflow: Inflow, beginning: Beginning, decided_offset: int | None) -> None:
        source_offset = decided_offset if beginning.source_offset is None else beginning.source_offset
        moves = [ledger.Advance(self._topics.topic[kind], inflow.positions[kind], beginning.positions[kind]) for kind in Kind]
        try:
            self._session.run(lambda connection: ledger.begin(connection, inflow.partition, inflow.epoch, moves, source_offset))
        except ledger.Fenced as fenced:
            self._let_go(inflow, fenced)
            return
        self._log.info("a new ledger begins", partition=inflow.partition, positions=beginning.positions, source_offset=source_offset)
        del self._inflows[inflow.partition]  # claimed anew from where the ledger stands: until that works, nothing of it is captured
        self._looked.add(inflow.partition)
        self._reached[inflow.partition] = beginning.positions[Kind.PROGRESS]

    def _let_go(self, inflow: Inflow, fenced: ledger.Fenced) -> None:
        self._log.warning("fenced", partition=inflow.partition, why=str(fenced))
        self._registry.increase(metrics.FENCED)
        del self._inflows[inflow.partition]
        self._retake_at = time.monotonic() + RETAKE_SECONDS

    def _claim(self, partition: int, beginnings: Mapping[Kind, int]) -> Inflow:
        by_topic = {self._topics.topic[kind]: offset for kind, offset in beginnings.items()}
        claim = self._session.run(lambda connection: ledger.claim(connection, self._holder, partition, by_topic))
        positions = {kind: claim.positions[topic] for kind, topic in self._topics.topic.items()}
        looked = partition in self._looked
        return Inflow(partition, positions, claim.source_begin, claim.source_position, claim.epoch, looked=looked)

    def _follow_catalogue(self) -> None:
        """At leisure; before a batch is decided it is read once more, to an end asked for after the batch was read."""
        if time.monotonic() >= self._catalogue_at:
            self._work += self._catalogue.refresh()
            self._catalogue_at = time.monotonic() + CATALOGUE_SECONDS
            self._registry.set(metrics.CATALOGUE_VERSION, self._catalogue.newest)

    def _capture_all(self) -> int:
        handled = 0
        fresh = False
        for partition in list(self._inflows):
            step = self._inflows[partition].next_step(self._settings.capture_events, self._decode)
            if step is None:
                continue
            if not fresh:
                # Before the catalogue, which is recorded again when the ledger has gone back.
                self._look_back()
                self._work += self._catalogue.refresh()
                fresh = True
            if not self._catalogue.timeline.versions:
                raise Transient("there is no catalogue yet")
            handled += self._capture(self._inflows[partition], step)
        return handled

    def _capture(self, inflow: Inflow, step: Step) -> int:
        closing = self._closing.known(core.used(step.announced))
        slices = [core.slice_of(announced, self._catalogue.timeline, closing) for announced in step.announced]
        subjects = self._numbered(inflow, core.subjects(slices))
        advances = [ledger.Advance(self._topics.topic[kind], step.expected[kind], step.next[kind]) for kind in Kind]
        batch = ledger.Batch(
            inflow.partition, inflow.epoch, tuple(advances), core.identities(slices), lambda kept: core.decide(slices, kept)
        )
        began = time.monotonic()
        try:
            captured = self._session.run(lambda connection: ledger.capture(connection, self._settings.room, batch, subjects))
        except ledger.Fenced as fenced:
            self._let_go(inflow, fenced)
            return 0
        self._registry.observe(metrics.COMMIT_SECONDS, time.monotonic() - began)
        inflow.captured(step, subjects)
        self._reached[inflow.partition] = inflow.positions[Kind.PROGRESS]
        self._topics.show_positions(inflow.partition, inflow.positions)
        self._gauges.count(captured)
        self._work += max(1, step.events)
        return step.events

    def _numbered(self, inflow: Inflow, subjects: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """The subjects' numbers; asked for once as long as the partition is held."""
        numbers = {subject: inflow.subjects[subject] for subject in subjects if subject in inflow.subjects}
        unknown = subjects - numbers.keys()
        if unknown:
            numbers |= self._session.run(lambda connection: ledger.number_subjects(connection, unknown))
        return numbers

    def _wait_for(self, away: Transient) -> None:
        """The ledger or the broker is away: everything stays as it is, and the same work is tried again a little later."""
        if str(away) != self._trouble:
            self._log.warning("waiting", why=str(away))
        self._registry.increase(metrics.FAILURES)
        self._trouble = str(away)
        self._not_before = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, LONGEST_RETRY_SECONDS)

    def _mind_limits(self) -> None:
        """Bound memory: a topic that is ahead waits for the others, but never for what the next progress record announces."""
        most = self._settings.capture_waiting_records
        over, under = [], []
        for partition, inflow in self._inflows.items():
            for kind in Kind:
                full = inflow.waiting(kind) >= max(most, inflow.wanted(kind))
                if full and (kind, partition) not in self._paused:
                    over.append((kind, partition))
                if not full and (kind, partition) in self._paused:
                    under.append((kind, partition))
        if over:
            self._topics.pause(over)
        if under:
            self._topics.resume(under)
        self._paused = (self._paused | set(over)) - set(under)

    def _measure(self) -> None:
        if time.monotonic() >= self._measure_at:
            self._measure_at = time.monotonic() + MEASURE_SECONDS
            self._gauges.show(self._inflows, self._ends.keys())

    def _publish(self) -> None:
        assigned = self._topics.assigned
        waiting = [partition for partition, inflow in self._inflows.items() if not inflow.empty]
        busy = ""
        if assigned is None:
            busy = "no partitions were assigned yet"
        elif assigned != self._inflows.keys():
            busy = "partitions are being taken over"
        elif waiting:
            busy = f"records of partitions {waiting} wait"
        elif len(self._ends) < len(Kind) * len(self._inflows):
            busy = "reading"
        trouble = self._trouble or ("" if assigned is not None and assigned == self._inflows.keys() else busy)
        self._status = _Status(
            dict(self._ends), frozenset(self._inflows), self._catalogue.seen, busy, trouble, self._work, time.monotonic()
        )
