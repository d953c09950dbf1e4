"""What the codec costs: CPU microseconds an event, for the one pass, the general decoder, both checks and both hashes.

Run `python -m benchmarks.bench_codec`; it prints a Markdown table. The least of several rounds counts: other work on the machine only adds.
"""

import platform
import sys
import time
from collections.abc import Callable, Sequence

from trueup.contracts import codec, keys
from trueup.contracts.events import UsageEvent, check_fields
from trueup.contracts.plain_event import read_plain_event

EVENTS = 5_000
ROUNDS = 9
DIMENSIONS = {"model": "large-4", "region": "eu-central", "tier": "batch", "feature": "summaries"}


def events(dimensions: dict[str, str]) -> list[UsageEvent]:
    """Make events of the size that a service sends: a UUID, three names, a time and a quantity."""
    return [
        UsageEvent(
            id=f"6f9619ff-8b86-d011-b42d-{number:012d}",
            source="inference",
            event_time_ms=1_700_000_000_000 + number,
            meter="input_tokens",
            customer=f"cust_{number % 1000:04d}",
            quantity=number * 7 % 5000,
            reason=None,
            corrects=None,
            dimensions=dimensions,
        )
        for number in range(EVENTS)
    ]


def microseconds_each(work: Callable[[], object]) -> float:
    """Give the CPU time of one event in the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time_ns()
        work()
        best = min(best, (time.process_time_ns() - started) / EVENTS / 1000)
    return best


def costs(facts: Sequence[UsageEvent]) -> dict[str, float]:
    """Measure each step over the same events."""
    values = [codec.encode_event(fact) for fact in facts]
    bodies = [value[10:] for value in values]
    confluent = [codec.encode_event(fact, codec.Framing.CONFLUENT, 7) for fact in facts]
    pinned = codec.schema(codec.USAGE_EVENT)
    decoder = codec.Decoder({7: codec.USAGE_EVENT})
    assert decoder.decode_batch(values) == decoder.decode_batch(confluent) == list(facts)
    return {
        "`decode_batch`, single object": microseconds_each(lambda: decoder.decode_batch(values)),
        "`decode_batch`, Confluent": microseconds_each(lambda: decoder.decode_batch(confluent)),
        "· the one pass alone": microseconds_each(lambda: [read_plain_event(body) for body in bodies]),
        "· the general decoder: read, write again, compare": microseconds_each(
            lambda: [codec.decode_strictly(body, pinned) for body in bodies]
        ),
        "· fastavro's read alone": microseconds_each(lambda: [pinned.read(body) for body in bodies]),
        "`check_fields`": microseconds_each(lambda: [check_fields(fact) for fact in facts]),
        "`identity`": microseconds_each(lambda: [keys.identity(fact.source, fact.id) for fact in facts]),
        "`record_hash`": microseconds_each(lambda: [keys.record_hash(value) for value in values]),
        "`payload_hash`": microseconds_each(lambda: [keys.payload_hash(fact) for fact in facts]),
        "`encode_event`": microseconds_each(lambda: [codec.encode_event(fact) for fact in facts]),
    }


def main() -> None:
    """Print the table."""
    bare, dimensioned = events({}), events(DIMENSIONS)
    sizes = [len(codec.encode_event(facts[0])) for facts in (bare, dimensioned)]
    columns = [costs(bare), costs(dimensioned)]
    lines = [
        f"CPU µs an event, least of {ROUNDS} rounds of {EVENTS:,}; Python {platform.python_version()} on {platform.machine()}",
        "",
        f"| step | {sizes[0]} bytes, no dimensions | {sizes[1]} bytes, {len(DIMENSIONS)} dimensions |",
        "| --- | ---: | ---: |",
        *[f"| {step} | {columns[0][step]:.2f} | {columns[1][step]:.2f} |" for step in columns[0]],
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
