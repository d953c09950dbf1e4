"""Short ways to write down records of a source partition, for the tests of the dedupe room's core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from services.dedupe.core.batch import Decided, apply
from services.dedupe.core.memory import Partition
from services.dedupe.core.records import Headers, Output, Record
from trueup.contracts.catalogue import Timeline, parse
from trueup.contracts.codec import Decoder, Framing, encode_event
from trueup.contracts.events import UsageEvent

HOUR_MS = 3_600_000
# In the past of every broker that these records meet: it refuses record times over an hour ahead.
BEGIN_MS = 490_000 * HOUR_MS
TOPIC = "usage.events.v1"
CONFLUENT_ID = 7

FIRST = """
[meter.tokens]
unit = "token"
billing_window = "PT45M"
stripe_event_name = "tokens"
"""
SECOND = """
[meter.tokens]
unit = "token"
billing_window = "PT15M"
stripe_event_name = "tokens"
[meter.runs]
unit = "run"
stripe_event_name = "runs"
"""

TIMELINE = Timeline().with_version(1, BEGIN_MS, parse(FIRST))
DECODER = Decoder({CONFLUENT_ID: "usage_event"})

EVENT = UsageEvent(
    id="e1",
    source="inference",
    event_time_ms=BEGIN_MS,
    meter="tokens",
    customer="acme",
    quantity=5,
    reason=None,
    corrects=None,
    dimensions={},
)


def event(id: str, at_ms: int = BEGIN_MS, **changes: object) -> UsageEvent:
    """An event that happened when it arrived, unless told otherwise."""
    return replace(EVENT, **{"id": id, "event_time_ms": at_ms, **changes})  # type: ignore[arg-type]


def record(
    offset: int,
    content: UsageEvent | bytes | None,
    at_ms: int = BEGIN_MS,
    framing: Framing = Framing.SINGLE_OBJECT,
    headers: Headers = (),
) -> Record:
    """A record as the broker holds it."""
    value = encode_event(content, framing, CONFLUENT_ID) if isinstance(content, UsageEvent) else content
    return Record(offset, at_ms, b"acme", value, headers)


def decide(partition: Partition, records: Sequence[Record], timeline: Timeline = TIMELINE) -> Decided:
    """Decides a batch and lets the partition absorb it."""
    decided = apply(partition, records, timeline, DECODER, TOPIC)
    partition.absorb(decided.progress)
    return decided


def outcomes(records: Sequence[Record], outputs: Iterable[Output]) -> list[str]:
    """The outcome of each record in a word: its topic, with `suspect` beside it, or `dropped`."""
    by_offset = {}
    for output in outputs:
        headers = {name: content or b"" for name, content in output.headers}
        offset = int(headers["trueup-source"].split(b":")[1])
        reason = headers["trueup-reason"].decode() if "trueup-reason" in headers else ""
        by_offset[offset] = reason or output.route.value + (" suspect" if "trueup-suspect" in headers else "")
    return [by_offset.get(record.offset, "dropped") for record in records]
