"""From a CSV trace to facts: one event per row and meter, its id the file's name, row and meter."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from trueup.cli.csv_rows import Row, TornRow, decoded, rows
from trueup.cli.faults import UsageFault
from trueup.cli.lines import Accepted, LineFault, RefusedLine, bad_field, instant_ms, quantity_of
from trueup.contracts.events import RefusalReason, UsageEvent, check_fields

DEFAULT_MAP = "time=TIMESTAMP,meter:input_tokens=ContextTokens,meter:output_tokens=GeneratedTokens"
SOURCE = "trace"
METER = "meter:"
NAMED = ("time", "customer", "id")


@dataclass(frozen=True, slots=True)
class TraceMap:
    """Which column holds what."""

    time: str
    meters: tuple[tuple[str, str], ...]  # (meter, column)
    customer: str | None = None
    id: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        named = tuple(column for column in (self.time, self.customer, self.id) if column is not None)
        return (*named, *(column for _, column in self.meters))


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """How a trace becomes events: its name goes into the ids, its rows are spread over customers."""

    name: str
    map: TraceMap
    source: str = SOURCE
    customers: int = 1


def parse_map(text: str) -> TraceMap:
    """`time=COLUMN,meter:NAME=COLUMN,…`, with `customer=` and `id=` where the file has such columns.

    A part with a comma in it stands in quotes, as in the file itself.
    """
    named: dict[str, str] = {}
    meters: list[tuple[str, str]] = []
    for part in next(csv.reader([text], skipinitialspace=True), []):
        name, equals, column = part.strip().partition("=")
        if not equals or not name or not column:
            raise UsageFault(f"--map: {part!r} is not NAME=COLUMN")
        if name.startswith(METER):
            meters.append((name.removeprefix(METER), column))
        elif name in NAMED and name not in named:
            named[name] = column
        else:
            raise UsageFault(f"--map: {name!r} is none of {', '.join(NAMED)} or {METER}NAME, or it is given twice")
    if "time" not in named or not meters:
        raise UsageFault("--map needs time=COLUMN and at least one meter:NAME=COLUMN")
    if len({meter for meter, _ in meters}) != len(meters):
        raise UsageFault("--map names a meter twice")
    return TraceMap(named["time"], tuple(meters), named.get("customer"), named.get("id"))


def customer_of(row: int, customers: int) -> str:
    """Spreads rows over customers, the same way every time and without a pattern in time."""
    place = int.from_bytes(blake2b(b"%d" % row, digest_size=8).digest(), "big") % customers
    return f"customer-{place + 1:03d}"


def customer_names(customers: int) -> tuple[str, ...]:
    """The customers that a trace is spread over."""
    return tuple(f"customer-{place:03d}" for place in range(1, customers + 1))


def header_of(reader: Iterator[Row | TornRow], options: TraceOptions) -> Sequence[str]:
    """The first row that is not blank; it must hold every column of the map."""
    header = next(reader, None)
    if header is None:
        raise UsageFault(f"{options.name} is empty")
    if isinstance(header, TornRow):
        raise UsageFault(f"{options.name}: {header.detail}")
    names = [cell.strip() for cell in header.cells]
    missing = [column for column in options.map.columns if column not in names]
    if missing:
        raise UsageFault(f"{options.name} has no column {', '.join(missing)}; it has {', '.join(names)}")
    twice = [column for column in options.map.columns if names.count(column) > 1]
    if twice:
        raise UsageFault(f"{options.name} has column {', '.join(twice)} more than once: nobody can tell which is meant")
    return names


def read_trace(content: bytes, options: TraceOptions, scales: Mapping[str, int]) -> Iterator[Accepted | RefusedLine]:
    """Every row and meter as an event or as a refusal; rows are counted from 1, without header and blank lines."""
    try:
        text = decoded(content)
    except UnicodeDecodeError as fault:
        raise UsageFault(f"{options.name} is not UTF-8: {fault.reason} at byte {fault.start}") from fault
    reader = rows(text)
    names = header_of(reader, options)
    for row, read in enumerate(reader, start=1):
        if isinstance(read, TornRow):
            behind = "" if options.map.id else "; nothing behind it was read, since ids count rows and nobody knows how many it swallowed"
            yield RefusedLine(read.line, str(RefusalReason.BAD_FIELD), read.detail + behind)
            if options.map.id is None:
                return
            continue
        cells = read.cells
        if any(cell.strip() for cell in cells[len(names) :]):
            # A number written with a comma, most often: none of its cells can be trusted to stand under their name.
            detail = f"row {row} has {len(cells)} cells, the header has {len(names)}"
            yield RefusedLine(read.line, str(RefusalReason.BAD_FIELD), detail)
            continue
        values = dict(zip(names, (cell.strip() for cell in cells), strict=False))
        for meter, column in options.map.meters:
            try:
                yield Accepted(read.line, trace_event(values, row, meter, column, options, scales))
            except LineFault as fault:
                yield RefusedLine(read.line, str(fault.reason), fault.detail)


def trace_event(
    values: Mapping[str, str], row: int, meter: str, column: str, options: TraceOptions, scales: Mapping[str, int]
) -> UsageEvent:
    """The event of one row and meter."""
    absent = [name for name in (*options.map.columns,) if not values.get(name)]
    if options.map.time in absent or column in absent:
        raise bad_field(f"row {row} has no {' and no '.join(name for name in (options.map.time, column) if name in absent)}")
    try:
        event_time_ms = instant_ms(values[options.map.time], utc_by_default=True)
    except ValueError as fault:
        raise bad_field(f"row {row}: {fault}") from fault
    own_id = values.get(options.map.id, "") if options.map.id else f"{options.name}:{row}"
    event = UsageEvent(
        id=f"{own_id}:{meter}",
        source=options.source,
        event_time_ms=event_time_ms,
        meter=meter,
        customer=values.get(options.map.customer, "") if options.map.customer else customer_of(row, options.customers),
        quantity=quantity_of(values[column], meter, scales),
        reason=None,
        corrects=None,
        dimensions={},
    )
    refusal = check_fields(event)
    if refusal is not None:
        raise LineFault(refusal.reason, f"row {row}: {refusal.detail}")
    return event
