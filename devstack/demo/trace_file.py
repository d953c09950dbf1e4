"""A trace read for the demo, in a few lines of its own: its rows, its totals, and the catalogue that fits it."""

from __future__ import annotations

import csv
import io
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path

from devstack.load_generator.deliveries import Burst, Delivery, Usage

DEFAULT_MAP = "time=TIMESTAMP,meter:input_tokens=ContextTokens,meter:output_tokens=GeneratedTokens"
SOURCE = "trace"
HOUR_MS = 3_600_000
WINDOW_MS = 300_000
# A batch is published half a minute after its window: before that window's first cut, a minute after it.
AFTER_WINDOW_MS = 30_000
# The street comes to rest before each of them: a trace of days must not take hours.
MOST_BURSTS = 120
FIRST_DELAY_MS = 25_000
SECOND_DELAY_MS = 600_000
OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as events in smallest units, and the decimal places of each meter."""

    path: Path
    usages: tuple[Usage, ...]
    scales: dict[str, int]

    @property
    def first_ms(self) -> int:
        """The instant of the earliest event."""
        return min(usage.event_time_ms for usage in self.usages)

    @property
    def last_ms(self) -> int:
        """The instant of the newest event."""
        return max(usage.event_time_ms for usage in self.usages)

    @property
    def totals(self) -> dict[str, int]:
        """What each meter adds up to, in smallest units."""
        found: dict[str, int] = defaultdict(int)
        for usage in self.usages:
            found[usage.meter] += usage.quantity
        return dict(found)

    def by_customer_and_meter(self) -> dict[tuple[str, str], int]:
        """The truth that the closing table starts from."""
        found: dict[tuple[str, str], int] = defaultdict(int)
        for usage in self.usages:
            found[usage.customer, usage.meter] += usage.quantity
        return dict(found)


def read_trace(path: Path, columns: str, customers: int) -> Trace:
    """Reads a CSV whose columns are named by `time=…,meter:NAME=…`."""
    named = dict(part.split("=", 1) for part in columns.split(","))
    meters = {name.removeprefix("meter:"): column for name, column in named.items() if name.startswith("meter:")}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if any((value or "").strip() for value in row.values())]
    scales = {meter: max(places(row[column]) for row in rows) for meter, column in meters.items()}
    usages = []
    for number, row in enumerate(rows, start=1):
        at_ms = milliseconds(row[named["time"]])
        customer = f"customer-{spread(number, customers):03d}"
        for meter, column in meters.items():
            quantity = int(Decimal(row[column].strip()).scaleb(scales[meter]))
            usages.append(Usage(SOURCE, f"{path.name}:{number}:{meter}", customer, meter, quantity, at_ms))
    return Trace(path, tuple(usages), scales)


def moved_text(path: Path, columns: str, by_ms: int) -> str:
    """The same file with its time column moved."""
    column = dict(part.split("=", 1) for part in columns.split(","))["time"]
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if (row[column] or "").strip()]
        names = list(reader.fieldnames or ())
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        moment = datetime.fromtimestamp((milliseconds(row[column]) + by_ms) / 1000, UTC)
        writer.writerow({**row, column: moment.isoformat(sep=" ", timespec="milliseconds")})
    return text.getvalue()


def places(text: str) -> int:
    """How many decimal places a number is written with."""
    return len(text.strip().partition(".")[2])


def milliseconds(text: str) -> int:
    """An instant, UTC unless it says otherwise, cut off at whole milliseconds."""
    bare = text.strip()
    offset = OFFSET.search(bare[10:])
    whole, _, fraction = (bare[: -len(offset[0])] if offset else bare).partition(".")
    moment = datetime.fromisoformat(whole + (offset[0] if offset else "+00:00"))
    return int(moment.astimezone(UTC).timestamp()) * 1000 + int(fraction.ljust(3, "0")[:3])


def spread(row: int, customers: int) -> int:
    """The customer of a row: as `trueup events send --customers` spreads a file."""
    return int.from_bytes(blake2b(str(row).encode(), digest_size=8).digest(), "big") % customers + 1


def bursts(trace: Trace, seed: int) -> list[Burst]:
    """Every event twice: soon after it happened, and once more minutes later; published in one batch per window."""
    draw = random.Random(seed)
    window_ms = spacing_ms(trace)
    at: dict[int, list[Delivery]] = defaultdict(list)
    for usage in trace.usages:
        arrival_ms = usage.event_time_ms + draw.randrange(FIRST_DELAY_MS)
        for delivery in (
            Delivery(arrival_ms, usage, "first"),
            Delivery(arrival_ms + 1 + draw.randrange(SECOND_DELAY_MS), usage, "duplicate"),
        ):
            at[published_ms(delivery.arrival_ms, window_ms)].append(delivery)
    return [Burst(at_ms, tuple(sorted(at[at_ms], key=lambda one: one.arrival_ms))) for at_ms in sorted(at)]


def spacing_ms(trace: Trace) -> int:
    """How far apart batches are published: a window, or several where a trace of days would make too many batches."""
    return WINDOW_MS * max(1, -(-(trace.last_ms - trace.first_ms) // (MOST_BURSTS * WINDOW_MS)))


def published_ms(arrival_ms: int, window_ms: int) -> int:
    """The batch in which an arrival is published."""
    return -(-(arrival_ms - AFTER_WINDOW_MS) // window_ms) * window_ms + AFTER_WINDOW_MS


def catalogue_of(trace: Trace, *, roll_up: str, summary_settle: str) -> str:
    """The trace's own catalogue: nothing of it is late, nothing is before the beginning."""
    window_hours = (trace.last_ms - trace.first_ms) // HOUR_MS + 2
    meters = "\n".join(
        f'[meter.{meter}]\nunit = "{meter.removesuffix("s")}"\nscale = {scale}\nbilling_window = "PT{window_hours}H"\n'
        f'roll_up = "{roll_up}"\nstripe_event_name = "{meter}"\n'
        for meter, scale in trace.scales.items()
    )
    prices = ", ".join(f'"price_{meter}"' for meter in trace.scales)
    policy = f'[policy]\nfinalization_grace = "PT{max(24, window_hours + 2)}H"\nsummary_settle = "{summary_settle}"\n'
    return f"{meters}\n[plan.basic]\nstripe_prices = [{prices}]\n\n{policy}"
