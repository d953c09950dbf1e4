"""Rows per second of the capture transaction, beside a bare COPY of the same rows in the same round, with the result counted.

`python -m benchmarks.bench_capture [--batches 8] [--events 10000] [--rounds 3] [--stored 0]` starts a Postgres of its own
and prints Markdown.

- *bare COPY*: a buffer packed beforehand into a table without index, one commit a batch: the floor.
- *transaction*: everything the ledger does with a batch whose events are decoded and hashed: barrier, positions, probe, decisions, COPY of
  events and postings, seal, batch and source rows.
- *with hashing*: the same from decoded events on: identity, payload hash, segment, sums compared with the progress record.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from devstack.postgres import Postgres
from devstack.process import spawn, wait_until
from services.stripe_sink.app.room import calm_collector
from services.stripe_sink.core import capture as core
from tests.makers.capture_batches import NOON_MS, make_announced, make_event, make_forwarded, make_timeline
from trueup.ledger.migrate import migrate
from trueup.ledger.store import binary_copy, capture
from trueup.ledger.store.connection import connect

CUSTOMERS = 10_000
METERS = ("tokens", "runs")
REPEATS, CONFLICTS, LATE = 0.03, 0.001, 0.01
DIMENSIONS = {"model": "large-4", "region": "eu-central"}
TIMELINE = make_timeline()
BARE = "bare_event"


@dataclass(frozen=True, slots=True)
class Cost:
    """What some batches took."""

    events: int
    wall_seconds: float
    client_seconds: float
    server_seconds: float

    @property
    def cpu_seconds(self) -> float:
        """Client and server together."""
        return self.client_seconds + self.server_seconds


def batches(count: int, events: int, seed: int, first: int) -> list[core.Announced]:
    """Seeded batches: many customers of which few are busy, repeats of recent events, a few conflicts and late ones."""
    chance = random.Random(seed)
    made = []
    recent: list[int] = []
    for number in range(count):
        start = first + number * events
        records = []
        for offset in range(start, start + events):
            again = bool(recent) and chance.random() < REPEATS
            told = chance.choice(recent) if again else offset
            recent.append(told)
            event = make_event(
                f"6f9619ff-8b86-d011-{seed:04x}-{told:012d}",
                event_time_ms=NOON_MS + told % 3_600_000,
                meter=METERS[told % 2],
                # Everything about an event follows from its number; a few customers are busy, most are not.
                customer=f"cust_{int(CUSTOMERS * (told * 2654435761 % 2**32 / 2**32) ** 3):05d}",
                quantity=told % 5_000 + (again and chance.random() < CONFLICTS / REPEATS),
                dimensions=DIMENSIONS,
            )
            records.append((make_forwarded(offset, event), chance.random() < LATE))
        recent = recent[-20_000:]
        made.append(
            make_announced(
                first_offset=start,
                on_time=[record for record, late in records if not late],
                late=[record for record, late in records if late],
                progress_offset=number,
            )
        )
    return made


class Bench:
    """One database, one writer."""

    def __init__(self, server: Postgres, name: str) -> None:
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(f"create database {name}".encode())
        migrate(server.dsn(name))
        self.owner = psycopg.connect(server.dsn(name), autocommit=True)
        self.owner.execute(f"create table {BARE} (like ledger.event)".encode())
        self.owner.execute(f"grant insert, select on {BARE} to trueup_writer".encode())
        self.owner.execute("grant usage on schema public to trueup_writer")
        self.writer = connect(server.dsn(name, "trueup_writer"), "bench")
        self.claim = capture.claim(self.writer, "bench", 0, {"progress": 0})
        self.position = 0
        self.subjects: dict[tuple[str, str], int] = {}

    def number(self, announced: Sequence[core.Announced]) -> None:
        """Subjects are known long before the busy hour."""
        wanted = {(record.event.customer, record.event.meter) for one in announced for record in (*one.on_time, *one.late)}
        self.subjects |= capture.number_subjects(self.writer, wanted - self.subjects.keys())

    def capture(self, slices: Sequence[core.Slice]) -> capture.Captured:
        """One batch through the real transaction."""
        advance = capture.Advance("progress", self.position, self.position + 1)
        batch = capture.Batch(0, self.claim.epoch, (advance,), core.identities(slices), lambda kept: core.decide(slices, kept))
        self.position += 1
        return capture.capture(self.writer, "bench", batch, self.subjects)

    def bare(self, stream: bytes) -> None:
        """One batch by COPY alone."""
        statement = f"copy public.{BARE} ({_COLUMNS}) from stdin (format binary)"
        with self.writer.transaction(), self.writer.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.write(stream)

    def timed(self, events: int, work: Callable[[], None]) -> Cost:
        """What some work took, here and in the backend that served it."""
        pid = self.writer.info.backend_pid
        wall, client, server = time.perf_counter(), time.process_time(), _cpu_seconds(pid)
        work()
        return Cost(events, time.perf_counter() - wall, time.process_time() - client, _cpu_seconds(pid) - server)


_COLUMNS = (
    "identity, payload_hash, subject_id, quantity, billable_quantity, event_time, arrival, late, segment_start, segment_end,"
    " source_partition, source_offset, batch_id, source, id, customer, meter, reason, corrects, dimensions"
)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def rounds(bench: Bench, count: int, batch_count: int, events: int) -> Iterator[tuple[Cost, Cost, Cost]]:
    """Each round measures all three, one after the other, so that their ratio is of the same moment."""
    for number in range(count):
        first = number * 2 * batch_count * events
        plain, hashed = (batches(batch_count, events, 2 * number + at, first + at * batch_count * events) for at in (0, 1))
        bench.number([*plain, *hashed])
        slices = [core.slice_of(announced, TIMELINE) for announced in plain]
        streams = [_stream(bench, part) for part in slices]
        total = batch_count * events
        before = bench.owner.execute(f"select count(*) from {BARE}".encode()).fetchone()
        bare = bench.timed(total, lambda streams=streams: [bench.bare(stream) for stream in streams])  # type: ignore[misc]
        after = bench.owner.execute(f"select count(*) from {BARE}".encode()).fetchone()
        assert before and after and after[0] - before[0] == total
        captured: list[capture.Captured] = []
        prepared = bench.timed(total, lambda: captured.extend(bench.capture([part]) for part in slices))  # noqa: B023
        whole = bench.timed(total, lambda: captured.extend(bench.capture([core.slice_of(one, TIMELINE)]) for one in hashed))  # noqa: B023
        _count(bench, captured)
        yield bare, prepared, whole


def _stream(bench: Bench, part: core.Slice) -> bytes:
    rows = sorted(candidate.row for candidate in part.candidates)
    return binary_copy.events(binary_copy.event_heads(rows, bench.subjects, 0, 0), rows)


_STORED = """
select
    (select count(*) from ledger.event where batch_id = any(%(batches)s)),
    (select count(*) from ledger.duplicate where batch_id = any(%(batches)s)),
    (select count(*) from ledger.conflict where batch_id = any(%(batches)s)),
    (select sum(events) from ledger.posting where batch_id = any(%(batches)s)),
    (select sum(arrived_events)::bigint from ledger.source_batch where batch_id = any(%(batches)s))
"""


def _count(bench: Bench, captured: Sequence[capture.Captured]) -> None:
    """What was decided is what stands there."""
    stored = bench.owner.execute(_STORED, {"batches": [done.batch_id for done in captured]}).fetchone()
    events = sum(len(done.decision.events) for done in captured)
    duplicates = sum(len(done.decision.duplicates) for done in captured)
    conflicts = sum(len(done.decision.conflicts) for done in captured)
    assert stored == (events, duplicates, conflicts, events, events + duplicates + conflicts), (stored, events, duplicates, conflicts)


def report(measured: Sequence[tuple[Cost, Cost, Cost]], given: argparse.Namespace, version: str) -> Iterator[str]:
    """Markdown, medians of the rounds; ratios are taken inside each round."""
    yield f"Capture, {given.batches} batches of {given.events:,} events a round, {given.rounds} rounds,"
    yield f"{given.stored:,} events stored before; PostgreSQL {version}, Python {platform.python_version()},"
    yield "client and server on one machine, every result counted."
    yield ""
    yield "| | rows/s | of bare COPY, wall | of bare COPY, CPU | client µs/event | server µs/event |"
    yield "|---|---|---|---|---|---|"
    for at, name in enumerate(("bare COPY", "transaction", "with hashing")):
        costs = [costs[at] for costs in measured]
        wall = statistics.median(costs[0].wall_seconds / costs[at].wall_seconds for costs in measured)
        cpu = statistics.median(costs[0].cpu_seconds / costs[at].cpu_seconds for costs in measured)
        rate = statistics.median(cost.events / cost.wall_seconds for cost in costs)
        client = statistics.median(cost.client_seconds / cost.events for cost in costs) * 1e6
        server = statistics.median(cost.server_seconds / cost.events for cost in costs) * 1e6
        yield f"| {name} | {rate:,.0f} | {wall:.2f} | {cpu:.2f} | {client:.2f} | {server:.2f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stored", type=int, default=0, help="events captured before anything is measured")
    given = parser.parse_args()
    calm_collector()  # as the room does
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder), lambda line: None)
        part = server.part()
        process = spawn(part.prepare(), Path(folder) / "log", part.death_signal)
        try:
            assert wait_until(lambda: part.ready().ok, 60, 0.1)
            bench = Bench(server, "bench")
            for number in range(given.stored // given.events):
                before = batches(1, given.events, 60_000 + number, 10**9 + number * given.events)
                bench.number(before)
                bench.capture([core.slice_of(one, TIMELINE) for one in before])
            measured = list(rounds(bench, given.rounds, given.batches, given.events))
            version = bench.writer.info.parameter_status("server_version") or "unknown"
            sys.stdout.write("\n".join(report(measured, given, version)) + "\n")
        finally:
            process.send_signal(part.stop_signal)
            process.wait(30)


if __name__ == "__main__":
    main()
