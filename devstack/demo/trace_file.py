"""A trace read for the demo, in a few lines of its own: its rows, its totals, and the catalogue that fits it."""

from __future__ import annotations

import csv
import io
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
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
METER_NAME = re.compile(r"[A-Za-z0-9_]+")
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


class TraceFault(ValueError):
    """The file, or what was said of its columns, cannot be used; the sentence says where and why."""


def read_map(columns: str) -> tuple[str, dict[str, str]]:
    """The time's column and each meter's, of `time=COLUMN,meter:NAME=COLUMN,…`; a part with a comma in it stands in quotes."""
    named: dict[str, str] = {}
    for part in next(csv.reader([columns], skipinitialspace=True), []):
        name, _, column = part.strip().partition("=")
        if not column or name in named or not (name == "time" or name.startswith("meter:")):
            raise TraceFault(f"MAP: {part!r} is not time=COLUMN or meter:NAME=COLUMN, or it is given twice")
        named[name] = column
    meters = {name.removeprefix("meter:"): column for name, column in named.items() if name != "time"}
    if "time" not in named or not meters:
        raise TraceFault("MAP needs time=COLUMN and at least one meter:NAME=COLUMN")
    odd = [meter for meter in meters if not METER_NAME.fullmatch(meter)]
    if odd:
        raise TraceFault(f"MAP: a meter's name has letters, digits and _ only, not {odd[0]!r}")
    return named["time"], meters


def read_rows(path: Path, wanted: list[str]) -> tuple[list[str], list[dict[str, str]]]:
    """The header and every row that is not blank, without the spaces around its cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file, strict=True)]
    except csv.Error as fault:
        raise TraceFault(f"{path.name} is not a CSV that can be read: {fault}") from fault
    full = [line for line in lines if any(line)]
    if len(full) < 2:
        raise TraceFault(f"{path.name} has no rows")
    names, *rows = full
    missing = [column for column in wanted if column not in names]
    if missing:
        raise TraceFault(f"{path.name} has no column {', '.join(missing)}; it has {', '.join(names)}")
    odd = [at for at, row in enumerate(rows, start=1) if any(row[len(names) :])]
    if odd or any(names.count(column) > 1 for column in wanted):
        where = f"row {odd[0]} has more cells than the header" if odd else "a column stands there twice"
        raise TraceFault(f"{path.name}: {where}")
    return names, [dict(zip(names, row, strict=False)) for row in rows]


def read_trace(path: Path, columns: str, customers: int) -> Trace:
    """Reads a CSV whose columns are named by `time=…,meter:NAME=…`; TraceFault for what cannot be read."""
    time_column, meters = read_map(columns)
    _, rows = read_rows(path, [time_column, *meters.values()])
    cells = {meter: [number(row.get(column, ""), at, column) for at, row in enumerate(rows, 1)] for meter, column in meters.items()}
    scales = {meter: max(map(places, numbers)) for meter, numbers in cells.items()}
    usages = []
    for at, row in enumerate(rows, start=1):
        try:
            at_ms = milliseconds(row.get(time_column, ""))
        except ValueError as fault:
            raise TraceFault(f"row {at}: {time_column}: {fault}") from fault
        customer = f"customer-{spread(at, customers):03d}"
        for meter, numbers in cells.items():
            quantity = int(numbers[at - 1].scaleb(scales[meter]))
            usages.append(Usage(SOURCE, f"{path.name}:{at}:{meter}", customer, meter, quantity, at_ms))
    return Trace(path, tuple(usages), scales)


def moved_text(path: Path, columns: str, by_ms: int) -> str:
    """The same file with its time column moved."""
    column, meters = read_map(columns)
    names, rows = read_rows(path, [column, *meters.values()])
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        moment = datetime.fromtimestamp((milliseconds(row[column]) + by_ms) / 1000, UTC)
        writer.writerow({**row, column: moment.isoformat(sep=" ", timespec="milliseconds")})
    return text.getvalue()


def number(text: str, row: int, column: str) -> Decimal:
    """A cell's quantity, which is never below zero: what is taken back needs a reason, and a trace has none."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise TraceFault(f"row {row}: {column}: {text!r} is not a number") from None
    if not found.is_finite() or found < 0:
        raise TraceFault(f"row {row}: {column}: {text} is not a quantity")
    return found


def places(quantity: Decimal) -> int:
    """How many decimal places a number is written with."""
    return max(0, -int(quantity.as_tuple().exponent))


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
        f'[meter.{meter}]\nunit = "{meter.removesuffix("s") or meter}"\nscale = {scale}\nbilling_window = "PT{window_hours}H"\n'
        f'roll_up = "{roll_up}"\nstripe_event_name = "{meter}"\n'
        for meter, scale in trace.scales.items()
    )
    prices = ", ".join(f'"price_{meter}"' for meter in trace.scales)
    policy = f'[policy]\nfinalization_grace = "PT{max(24, window_hours + 2)}H"\nsummary_settle = "{summary_settle}"\n'
    return f"{meters}\n[plan.basic]\nstripe_prices = [{prices}]\n\n{policy}"
