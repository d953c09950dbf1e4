"""Makes what the dedupe room would have announced, without that room: for tests of capture alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.stripe_sink.core.capture import Announced, Forwarded, Rejected
from trueup.contracts import keys
from trueup.contracts.catalogue import FROM_THE_BEGINNING_MS, Catalogue, Timeline, parse
from trueup.contracts.codec import encode_event
from trueup.contracts.events import UsageEvent
from trueup.contracts.progress import ZERO, ProgressRecord, Tally

NOON_MS = 1_790_000_000_000 // 3_600_000 * 3_600_000
CATALOGUE_TOML = """
[meter.tokens]
unit = "token"
scale = 0
aggregation = "sum"
billing_window = "PT45M"
horizon = "P34D"
close_margin = "PT10M"
roll_up = "PT5M"
stripe_event_name = "tokens"

[meter.runs]
unit = "run"
aggregation = "count"
stripe_event_name = "runs"

[plan.basic]
stripe_prices = ["price_tokens", "price_runs"]

[policy]
finalization_grace = "PT24H"
"""


def make_catalogue() -> Catalogue:
    """One meter that sums, one that counts."""
    return parse(CATALOGUE_TOML)


def make_timeline(text: str = CATALOGUE_TOML) -> Timeline:
    """A single version that holds from the beginning."""
    return Timeline.from_appended([(1, FROM_THE_BEGINNING_MS, parse(text))])


def make_event(
    id: str = "e1",
    *,
    source: str = "inference",
    event_time_ms: int = NOON_MS,
    meter: str = "tokens",
    customer: str = "acme",
    quantity: int = 7,
    reason: str | None = None,
    corrects: str | None = None,
    dimensions: Mapping[str, str] | None = None,
) -> UsageEvent:
    """A plain event; name only what matters."""
    return UsageEvent(id, source, event_time_ms, meter, customer, quantity, reason, corrects, dimensions or {})


def make_forwarded(source_offset: int, event: UsageEvent, *, arrival_ms: int = NOON_MS + 1_000, suspect: bool = False) -> Forwarded:
    """The event as it comes from the on-time or the late topic."""
    return Forwarded(source_offset, arrival_ms, suspect, encode_event(event), event)


def make_rejected(
    source_offset: int,
    value: bytes | None,
    *,
    reason: str = "undecodable",
    field: str | None = None,
    event: UsageEvent | None = None,
    rejected_offset: int = 0,
    arrival_ms: int = NOON_MS + 1_000,
) -> Rejected:
    """A record as it comes from the rejected topic."""
    return Rejected(rejected_offset, source_offset, arrival_ms, reason, field, "no event", value, event, len(value or b""))


def make_announced(
    *,
    partition: int = 0,
    first_offset: int = 0,
    next_offset: int | None = None,
    on_time: Sequence[Forwarded] = (),
    late: Sequence[Forwarded] = (),
    rejected: Sequence[Rejected] = (),
    dropped: Iterable[UsageEvent] = (),
    progress_offset: int = 0,
    version: int = 1,
) -> Announced:
    """A progress record with true sums over these records; `dropped` are what the room called duplicates."""
    offsets = [record.source_offset for record in (*on_time, *late, *rejected)]
    on_time_tally = _tally(record.event for record in on_time)
    late_tally = _tally(record.event for record in late)
    dropped_tally = _tally(dropped)
    refused_tally = sum((_refused(record) for record in rejected), start=ZERO)
    progress = ProgressRecord(
        source_partition=partition,
        first_offset=first_offset,
        next_offset=next_offset if next_offset is not None else max([*offsets, first_offset]) + 1 + dropped_tally.events,
        catalogue_version=version,
        last_arrival_ms=max([record.arrival_ms for record in (*on_time, *late, *rejected)], default=NOON_MS),
        arrived=on_time_tally + late_tally + dropped_tally + refused_tally,
        on_time=on_time_tally,
        late=late_tally,
        duplicate=dropped_tally,
        refused=refused_tally,
        suspect_events=sum(record.suspect for record in (*on_time, *late)),
        new_ids=(),
    )
    return Announced(progress, progress_offset, on_time, late, rejected)


def _tally(events: Iterable[UsageEvent]) -> Tally:
    total = ZERO
    for event in events:
        total += Tally(1, event.quantity, keys.id_sum_term(keys.identity(event.source, event.id)))
    return total


def _refused(record: Rejected) -> Tally:
    if record.event is None:
        return Tally(1, 0, keys.id_sum_term(keys.bytes_identity(record.value)))
    return Tally(1, record.event.quantity, keys.id_sum_term(keys.identity(record.event.source, record.event.id)))
