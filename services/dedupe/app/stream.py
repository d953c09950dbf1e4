"""The loop: read a batch, decide it, commit it with its progress and offsets in one transaction, remember it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.dedupe import metrics
from services.dedupe.app.restoring import Restorer
from services.dedupe.app.standing import Board
from services.dedupe.core.batch import Decided, apply, pass_over
from services.dedupe.core.memory import Partition
from services.dedupe.core.records import Record, Route
from services.dedupe.ports import Books, CataloguePort, Ends, Fetched, Refused, Source, TransactionPort
from trueup.contracts.catalogue import Timeline
from trueup.contracts.codec import Decoder
from trueup.contracts.errors import Transient
from trueup.contracts.topics import HEADER_REASON
from trueup.runtime import log
from trueup.runtime.clock import Clock
from trueup.runtime.loop import Stop
from trueup.runtime.metrics import Registry

WAIT_SECONDS = 0.5
RETRY_SECONDS = 0.2
GAUGE_SECONDS = 5.0
TELL_SECONDS = 10.0


class Stopping(Exception):
    """The room was asked to stop while it waited for somebody else."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of one worker."""

    source: Source
    transaction: TransactionPort
    books: Books
    catalogue: CataloguePort
    ends: Ends


class Stream:
    """One worker's share of the source partitions. Every call comes from one thread, the callbacks of the group included."""

    def __init__(
        self,
        ports: Ports,
        decoder: Decoder,
        topic: str,
        batch_records: int,
        registry: Registry,
        board: Board,
        stop: Stop,
        clock: Clock,
        quiet_seconds: float,
    ) -> None:
        """Hold everything; `join` begins."""
        self._ports = ports
        self._decoder = decoder
        self._topic = topic
        self._batch_records = batch_records
        self._registry = registry
        self._board = board
        self._stop = stop
        self._log = log.get(__name__)
        self._restorer = Restorer(ports.source, ports.books, ports.ends, self._again, self._going_on)
        self._partitions: dict[int, Partition] = {}
        # What was remembered of partitions given up in a rebalance: most come back at its end.
        self._given_up: dict[int, Partition] = {}
        self._ends: dict[int, int | None] = {}
        self._clock = clock
        self._quiet_seconds = quiet_seconds
        self._quiet_since: dict[int, float] = {}
        self._work = 0
        self._gauged_at = 0.0
        self._waits_for = ""
        self._told_at = 0.0

    def join(self) -> None:
        """Waits for the first catalogue version, without which nothing can be decided, then joins the group."""
        self._board.say(phase="reading the catalogue", ready=False)
        while not self._timeline().versions:
            # Ready as far as the room can be; said only once it is known that there is none, or readiness would be taken back.
            self._board.say(phase="waiting for the first catalogue version", ready=True)
            self._again("no catalogue version was ever applied")
        self._board.say(phase="joining the group", ready=False)
        self._ports.source.subscribe(self._gained, self._gone)

    def step(self) -> int:
        """One turn: at most one batch. Returns how many records it decided."""
        fetched = self._ports.source.read(self._batch_records, WAIT_SECONDS)
        self._board.tick()
        records = self._mine(fetched)
        count = sum(map(len, records.values()))
        if count:
            self._board.say(busy=True)
            if not self._decide_and_commit(records):
                return 0
        self._note_ends(fetched)
        self._pass_over_markers()
        self._show_gauges()
        return count

    def _pass_over_markers(self) -> None:
        """Go on behind the control records at the end of partitions to which nothing came for long."""
        now = time.monotonic()
        quiet = {
            partition: end
            for partition, since in self._quiet_since.items()
            if now - since >= self._quiet_seconds
            and (end := self._ends.get(partition)) is not None
            and end > self._partitions[partition].next_offset
        }
        if quiet:
            self._board.say(busy=True)
            timeline, now_ms = self._timeline(), self._clock.now_ms()
            self._commit_decided(
                {partition: pass_over(self._partitions[partition], end, now_ms, timeline, self._topic) for partition, end in quiet.items()}
            )

    def _gained(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Restores what was gained; called by the group inside `read`, between two batches, so no transaction is open."""
        self._board.say(phase=f"restoring {len(partitions)} partitions")
        started = time.monotonic()
        restored = self._restorer.restore(partitions, self._given_up)
        self._given_up.clear()
        self._partitions.update(restored)
        self._ends.update(dict.fromkeys(partitions))
        if partitions:
            seconds = time.monotonic() - started
            self._registry.observe(metrics.RESTORE_SECONDS, seconds)
            stands_at = {partition: memory.next_offset for partition, memory in restored.items()}
            self._log.info("partitions gained", offsets=stands_at, ids=self._remembered(), seconds=round(seconds, 3))
        self._assigned()
        return {partition: memory.next_offset for partition, memory in restored.items()}

    def _gone(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if partition in self._partitions:
                self._given_up[partition] = self._partitions.pop(partition)
            self._ends.pop(partition, None)
            self._quiet_since.pop(partition, None)
            self._registry.set(metrics.LAG, 0, topic=self._topic, partition=str(partition))
            self._registry.set(metrics.OLDEST, 0, topic=self._topic, partition=str(partition))
        self._log.info("partitions gone", partitions=list(partitions))
        self._assigned()

    def _assigned(self) -> None:
        self._registry.set(metrics.OWNED, len(self._partitions))
        self._registry.set(metrics.REMEMBERED, self._remembered())
        self._board.say(phase=f"reading {len(self._partitions)} partitions", ready=True, joined=True, ends=dict(self._ends))

    def _remembered(self) -> int:
        return sum([len(memory.known) for memory in self._partitions.values()])

    def _mine(self, fetched: Fetched) -> dict[int, list[Record]]:
        """What this worker is to decide now: nothing from before an assignment, and nothing twice."""
        mine, doubtful = {}, []
        for partition, records in fetched.records.items():
            memory = self._partitions.get(partition)
            if memory is None:
                continue
            if partition in fetched.unsettled or records[0].offset < memory.next_offset:
                doubtful.append(partition)
            else:
                mine[partition] = records
        if doubtful:
            self._log.info("reading again what was fetched while the assignment changed", partitions=doubtful)
            # Nor does an end that was fetched with it say that everything before it is decided.
            fetched.unsettled.update(doubtful)
            self._restart(doubtful)
        return mine

    def _restart(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if partition in self._partitions:
                self._given_up[partition] = self._partitions.pop(partition)
            self._ends[partition] = None
        self._ports.source.rewind(self._gained(partitions))

    def _decide_and_commit(self, records: Mapping[int, list[Record]]) -> bool:
        for partition, waiting in records.items():
            self._registry.set(metrics.OLDEST, waiting[0].arrival_ms / 1000, topic=self._topic, partition=str(partition))
        timeline = self._timeline()
        decided = {
            partition: apply(self._partitions[partition], records[partition], timeline, self._decoder, self._topic)
            for partition in sorted(records)
        }
        return self._commit_decided(decided)

    def _commit_decided(self, decided: Mapping[int, Decided]) -> bool:
        started = time.monotonic()
        try:
            self._commit(decided)
        except Refused as refused:
            self._take_back(refused)
            return False
        self._registry.observe(metrics.COMMIT_SECONDS, time.monotonic() - started)
        for partition, batch in decided.items():
            self._partitions[partition].absorb(batch.progress)
            self._count(batch)
        self._work += 1
        self._board.say(busy=False, work=self._work)
        return True

    def _commit(self, decided: Mapping[int, Decided]) -> None:
        transaction = self._ports.transaction
        transaction.begin()
        for partition, batch in decided.items():
            transaction.write(partition, batch.outputs, batch.progress)
        offsets = {partition: batch.progress.next_offset for partition, batch in decided.items()}
        transaction.send_offsets(offsets, self._ports.source.membership())
        transaction.commit()

    def _take_back(self, refused: Refused) -> None:
        """Aborts and begins anew from what is committed, as if all partitions had just been gained."""
        self._log.warning("transaction refused", why=str(refused), partitions=sorted(self._partitions))
        self._ports.transaction.abort()
        self._registry.increase(metrics.ABORTED)
        self._restart(list(self._partitions))
        self._board.say(busy=False)

    def _count(self, batch: Decided) -> None:
        progress = batch.progress
        for outcome, tally in (
            ("on_time", progress.on_time),
            ("late", progress.late),
            ("duplicate", progress.duplicate),
            ("refused", progress.refused),
        ):
            self._registry.increase(metrics.EVENTS, tally.events, room=metrics.ROOM, outcome=outcome)
        self._registry.increase(metrics.SUSPECTS, progress.suspect_events)
        if progress.refused.events:
            for output in batch.outputs:
                if output.route is Route.REJECTED:
                    reason = dict(output.headers)[HEADER_REASON] or b""
                    self._registry.increase(metrics.REFUSED, reason=reason.decode())

    def _note_ends(self, fetched: Fetched) -> None:
        """An end counts once everything before it is committed, which it now is."""
        for partition, end in fetched.ends.items():
            if partition in self._partitions and partition not in fetched.unsettled:
                if self._ends[partition] != end:
                    self._quiet_since[partition] = time.monotonic()
                self._ends[partition] = end
                self._registry.set(metrics.OLDEST, 0, topic=self._topic, partition=str(partition))
        if fetched.ends:
            self._board.say(ends=dict(self._ends))

    def _show_gauges(self) -> None:
        now = time.monotonic()
        if now - self._gauged_at < GAUGE_SECONDS:
            return
        self._gauged_at = now
        self._timeline()
        self._registry.set(metrics.REMEMBERED, self._remembered())
        for partition, memory in self._partitions.items():
            try:
                _, high = self._ports.ends.bounds(partition)
            except Transient:
                return
            end = self._ends[partition]
            decided_up_to = memory.next_offset if end is None else max(end, memory.next_offset)
            self._registry.set(metrics.LAG, max(0, high - decided_up_to), topic=self._topic, partition=str(partition))

    def _timeline(self) -> Timeline:
        while True:
            try:
                timeline = self._ports.catalogue.timeline()
            except Transient as transient:
                self._again(f"the catalogue could not be read to its end: {transient}")
                continue
            version = timeline.versions[-1].version if timeline.versions else 0
            if version != self._board.standing.catalogue_version:
                self._registry.set(metrics.CATALOGUE_VERSION, version)
                self._board.say(catalogue_version=version)
            return timeline

    def _again(self, why: str) -> None:
        """A pause before a question is repeated; a reason that stays the same is told now and then only."""
        self._board.tick()
        now = time.monotonic()
        if why != self._waits_for or now - self._told_at > TELL_SECONDS:
            self._waits_for, self._told_at = why, now
            self._log.warning("waiting", why=why, phase=self._board.standing.phase)
        if self._stop.wait(RETRY_SECONDS):
            raise Stopping

    def _going_on(self) -> None:
        self._board.tick()
        if self._stop:
            raise Stopping
