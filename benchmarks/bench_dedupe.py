"""Events per CPU-second of the dedupe room, beside a bare librdkafka copy loop of the same topic, with the room's output counted.

`python benchmarks/bench_dedupe.py [--events 300000] [--rounds 3]` starts a broker of its own and prints Markdown. The room is the real
process, all its threads counted, from the moment it may begin (the catalogue is applied when it stands ready) until nothing is unread.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka

from devstack.kafka import Kafka
from devstack.process import Command, spawn, wait_until
from tests.makers.dedupe_topics import CATALOGUE, Topics
from tests.makers.dedupe_workers import Worker, ended
from trueup.contracts.codec import Decoder, encode_event
from trueup.contracts.events import UsageEvent
from trueup.contracts.topics import declared
from trueup.runtime.clock import SystemClock
from trueup.runtime.kafka import create_missing_topics
from trueup.runtime.settings import StreetSettings

PARTITIONS = 4
BATCH = 5_000
DUPLICATES = 0.05
LATE = 0.02
COPY = "benchmarks.copy_loop"


@dataclass(frozen=True, slots=True)
class Published:
    """What lies on the usage topic, and what must come out."""

    deliveries: int
    on_time: frozenset[str]
    late: frozenset[str]
    bytes_each: int


def publish(street: Topics, events: int, seed: int) -> Published:
    """Seeded events with duplicates close behind and some that are late."""
    chosen = random.Random(seed)
    born_ms = SystemClock().now_ms()
    on_time: set[str] = set()
    late: set[str] = set()
    recent: list[tuple[bytes, int]] = []
    size = 0
    for number in range(events):
        if recent and chosen.random() < DUPLICATES:
            value, partition = chosen.choice(recent[-1_000:])
        else:
            id = f"{chosen.getrandbits(128):032x}"
            is_late = chosen.random() < LATE
            (late if is_late else on_time).add(id)
            partition = number % PARTITIONS
            value = encode_event(_event(id, born_ms - (3_600_000 if is_late else chosen.randrange(60_000)), partition, chosen))
            recent.append((value, partition))
            size += len(value)
        street.publish(value, partition, key=b"customer-%d" % partition)
    street.flush()
    return Published(events, frozenset(on_time), frozenset(late), size // (len(on_time) + len(late)))


def _event(id: str, at_ms: int, partition: int, chosen: random.Random) -> UsageEvent:
    dimensions = {"model": "large-v2", "region": "eu-central-1", "tier": "standard", "request": f"r{chosen.randrange(10**6)}"}
    return UsageEvent(id, "inference", at_ms, "tokens", f"customer-{partition}", chosen.randrange(1, 4_000), None, None, dimensions)


def room_seconds(street: Topics, published: Published, folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of one worker over the whole topic, its output checked."""
    worker = Worker("dedupe-1", street.settings, folder, batch_records=BATCH)
    with ended(worker):
        worker.start()
        worker.wait_ready()
        before, began = _cpu_seconds(worker.pid), time.monotonic()
        street.apply_catalogue(CATALOGUE)
        if not wait_until(lambda: worker.metric("trueup_events_total") >= published.deliveries, 600, 0.5):
            raise SystemExit(worker.said())
        spent = _cpu_seconds(worker.pid) - before, time.monotonic() - began
    _check(street, published)
    return spent


def _check(street: Topics, published: Published) -> None:
    """A figure of a run that lost or doubled an event is no figure."""
    decoder = Decoder()
    for topic, expected in ((street.names.on_time, published.on_time), (street.names.late, published.late)):
        seen: Counter[str] = Counter()
        for found in street.read_all(topic):
            read = decoder.decode(found.value)
            if not isinstance(read, UsageEvent):
                raise SystemExit(f"{topic}: {read}")
            seen[read.id] += 1
        if seen.keys() != expected or max(seen.values()) > 1:
            raise SystemExit(f"{topic}: {len(expected - seen.keys())} missing, {seen.total() - len(seen)} doubled")


def copy_seconds(street: Topics, published: Published, folder: Path) -> float:
    """CPU seconds of the bare loop over the same topic; it says them itself."""
    log = folder / "copy.log"
    arguments = (street.settings.kafka_bootstrap, street.names.usage_events, street.names.corrections, str(PARTITIONS), str(BATCH))
    process = spawn(Command((sys.executable, "-m", COPY, *arguments), folder=Path(__file__).parents[1]), log)
    if process.wait(600):
        raise SystemExit(log.read_text())
    copied, seconds = log.read_text().split()[-2:]
    if int(copied) != published.deliveries:
        raise SystemExit(f"the copy loop copied {copied} of {published.deliveries}")
    return float(seconds)


def _cpu_seconds(pid: int) -> float:
    # User and system time of all threads, in the kernel's ticks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Runs the rounds and prints what was measured, where and how."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-dedupe-") as name:
        folder = Path(name)
        broker = Kafka(folder, _say)
        process = spawn(broker.part().prepare(), folder / "kafka.log")
        try:
            if not wait_until(lambda: broker.ready().ok, 240, 0.2):
                raise SystemExit((folder / "kafka.log").read_text()[-4_000:])
            _report(asked.events, [_round(broker, asked.events, number, folder) for number in range(asked.rounds)])
        finally:
            process.kill()
            process.wait()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _round(broker: Kafka, events: int, number: int, folder: Path) -> tuple[float, float, float, int]:
    prefix = f"bench{number}."
    settings = StreetSettings(kafka_bootstrap=broker.bootstrap, topic_prefix=prefix, partitions=PARTITIONS, room="bench")
    create_missing_topics(settings, declared(False, PARTITIONS, prefix=prefix))
    street = Topics(settings)
    published = publish(street, events, seed=number)
    bare = copy_seconds(street, published, folder)
    room, wall = room_seconds(street, published, folder)
    _say(f"round {number + 1}: copy {events / bare:,.0f}, room {events / room:,.0f} events per CPU-second")
    return bare, room, wall, published.bytes_each


def _report(events: int, rounds: list[tuple[float, float, float, int]]) -> None:
    bare, room, wall = (events / statistics.median([spent[column] for spent in rounds]) for column in range(3))
    ratio = statistics.median([spent[0] / spent[1] for spent in rounds])
    sys.stdout.write(f"""# dedupe: events per CPU-second

{events:,} deliveries of {rounds[0][3]} bytes a round, {DUPLICATES:.0%} duplicates, {LATE:.0%} late, {PARTITIONS} partitions, \
batches of {BATCH:,}; median of {len(rounds)} rounds. Every round's output was counted: nothing missing, nothing doubled.

| loop | events per CPU-second | CPU µs per event |
|---|---|---|
| bare consume + produce, no decoding, no transaction | {bare:,.0f} | {1e6 / bare:.2f} |
| the room: decode, dedupe, lateness, transaction, progress | {room:,.0f} | {1e6 / room:.2f} |

Ratio room / bare: {ratio:.2f}. The room's wall rate was {wall:,.0f} events/s.

`benchmarks/bench_dedupe.py --events {events} --rounds {len(rounds)}` on {_machine()}
""")


def _machine() -> str:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "unknown")
    loaded = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{os.cpu_count()} × {model}, load {loaded}; Python {platform.python_version()}, librdkafka {confluent_kafka.libversion()[0]}."


if __name__ == "__main__":
    main()
