"""A real trace through the whole street, every event delivered twice, its totals held at five places."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from devstack.demo import stripe_reads
from devstack.demo.closing import Line, totals
from devstack.demo.judgement import Judgement, Outcome, prove_table
from devstack.demo.month import CLOSED_MS, REST_MS, closing_lines, play, set_up
from devstack.demo.running import Running, instant_text, nothing_pending, running, say
from devstack.demo.trace_file import HOUR_MS, Trace, bursts, catalogue_of, moved_text, read_trace
from devstack.stripe_setup import STRIPES_LONGEST_GRACE_SECONDS, StreetCustomer
from trueup.contracts.codec import Decoder
from trueup.contracts.events import UsageEvent
from trueup.contracts.quantities import to_decimal_text
from trueup.contracts.topics import TopicNames
from trueup.ledger.store import balances
from trueup.ledger.store.connection import connect
from trueup.runtime.kafka import client_options

EVENTS = "events"
CUSTOMERS = 24
PLAN = "basic"
TOPIC_TIMEOUT_SECONDS = 30.0
# The client waits this long for a batch to fill, also behind the last record there is.
TOPIC_POLL_SECONDS = 0.1
# With the machine's own clock the last window is cut a minute after its end; beyond this something stands still.
SYSTEM_PATIENCE_SECONDS = 420.0
SYSTEM_POLL_SECONDS = 1.0
# The emulator's longest lag under the machine's clock is 2 s, the trace's summary_settle 5 s.
SYSTEM_SETTLE_SECONDS = 8.0


def run_simulated(path: Path, columns: str, known: Mapping[str, int], seed: int) -> Judgement:
    """The clock starts at the trace's first instant; each row arrives at its event time plus a seeded delay."""
    trace = read_trace(path, columns, CUSTOMERS)
    toml = catalogue_of(trace, roll_up="PT5M", summary_settle="PT2H")
    with running(toml, clock="simulated", clock_start_ms=trace.first_ms) as here:
        say(f"trace: {path.name}, {len(trace.usages):,} events, each delivered twice, {CUSTOMERS} customers")
        since_ms = trace.first_ms // HOUR_MS * HOUR_MS - HOUR_MS
        customers = trace_customers()
        catalogue = set_up(here, toml, customers, since_ms)
        deliveries = bursts(trace, seed)
        play(here, deliveries, deliveries[-1].at_ms + REST_MS)
        here.must("reconcile")
        truth = trace.by_customer_and_meter()
        lines = closing_lines(here, truth, customers, catalogue, since_ms, here.now_ms())
        outcomes = [*known_sums(trace, known), *trace_outcomes(here, trace, lines)]
        if catalogue.policy.finalization_grace_seconds > STRIPES_LONGEST_GRACE_SECONDS:
            say("the trace is longer than Stripe ever keeps an invoice open: it is held against the previews only")
            return Judgement(lines, outcomes, *unbilled(here))
        to_the_invoices(here, customers)
        proof, proved = here.reconcile_and_prove()
        billed = closing_lines(here, truth, customers, catalogue, since_ms, here.now_ms())
        settled = proved and nothing_pending(proof)
        return Judgement(billed, [*outcomes, *billed_outcomes(lines, billed)], prove_table(proof), settled)


def run_system(path: Path, columns: str, known: Mapping[str, int]) -> Judgement:
    """The machine's own clock and LogAppendTime: the rows are moved to end now, and sent twice by the command a user would type."""
    trace = read_trace(path, columns, CUSTOMERS)
    toml = catalogue_of(trace, roll_up="PT1M", summary_settle="PT5S")
    with running(toml, clock="system") as here:
        first_ms = here.now_ms() - (trace.last_ms - trace.first_ms)
        since_ms = first_ms // HOUR_MS * HOUR_MS - HOUR_MS
        customers = trace_customers()
        catalogue = set_up(here, toml, customers, since_ms)
        send_twice(here, trace, columns)
        wait_until_acknowledged(here, trace)
        proof, proved = unbilled(here)
        lines = closing_lines(here, trace.by_customer_and_meter(), customers, catalogue, since_ms, here.now_ms())
        return Judgement(lines, [*known_sums(trace, known), *trace_outcomes(here, trace, lines)], prove_table(proof), proved)


def unbilled(here: Running) -> tuple[str, bool]:
    """The proof of a street on which no period has ended."""
    proof, proved = here.reconcile_and_prove_unbilled()
    return prove_table(proof), proved


def to_the_invoices(here: Running, customers: Sequence[StreetCustomer]) -> None:
    """Moves the clock to where the invoices of the period that holds the trace are final and compared."""
    sdk = stripe_reads.client(here.stripe_url, here.settings.stripe_api_key)
    end_ms = 1000 * stripe_reads.newest_period_end(sdk, [one.stripe_customer for one in customers])
    say(f"every preview is read; on to the invoices of the period that ends {instant_text(end_ms)}")
    here.street.advance_to(end_ms + CLOSED_MS)


def billed_outcomes(previewed: Sequence[Line], billed: Sequence[Line]) -> list[Outcome]:
    """What was previewed must have agreed, and must be what was billed."""
    wrong = [f"{line.customer} {line.meter}" for line in previewed if not line.agrees]
    invoiced = {line.meter: line.invoices for line in totals(billed)}
    rows = [Outcome("customers and meters whose preview differed", "", ", ".join(wrong))]
    return rows + [
        Outcome(f"{line.meter}: previewed / final invoices", shown(line.preview, line.scale), shown(invoiced[line.meter], line.scale))
        for line in totals(previewed)
    ]


def send_twice(here: Running, trace: Trace, columns: str) -> None:
    """Publishes the same moved file twice, by the command a user would type.

    It is moved here, once: `--shift` moves to end at each call's own now, and one id with two times would be a conflict.
    """
    with tempfile.TemporaryDirectory(prefix="trueup-trace-") as folder:
        moved = Path(folder) / trace.path.name
        moved.write_text(moved_text(trace.path, columns, here.now_ms() - trace.last_ms), encoding="utf-8")
        for _ in range(2):
            here.must("events", "send", str(moved), "--format", "csv", "--map", columns, "--customers", str(CUSTOMERS))


def trace_customers() -> list[StreetCustomer]:
    """The customers that a trace is spread over."""
    return [StreetCustomer(f"customer-{n:03d}", f"cus_trace{n:03d}", PLAN) for n in range(1, CUSTOMERS + 1)]


def wait_until_acknowledged(here: Running, trace: Trace) -> None:
    """Waits until the ledger says that Stripe acknowledged everything; progress is told, a standstill is an error."""
    wanted = trace.totals
    until = time.monotonic() + SYSTEM_PATIENCE_SECONDS
    told = 0.0
    while True:
        found = acknowledged(here)
        if found == wanted:
            time.sleep(SYSTEM_SETTLE_SECONDS)
            return
        if time.monotonic() > until:
            raise RuntimeError(f"after {SYSTEM_PATIENCE_SECONDS:.0f} s Stripe has acknowledged {found}, of {wanted}")
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"acknowledged so far: {', '.join(f'{meter} {quantity:,}' for meter, quantity in sorted(found.items())) or 'nothing'}")
        time.sleep(SYSTEM_POLL_SECONDS)


def acknowledged(here: Running) -> dict[str, int]:
    """What stands in account acknowledged, per meter."""
    found: dict[str, int] = defaultdict(int)
    with connect(here.settings.postgres_dsn, "trueup-demo") as connection:
        for (_, meter), accounts in balances.by_customer_and_meter(connection).items():
            if "acknowledged" in accounts:
                found[meter] += accounts["acknowledged"]
    return dict(found)


def known_sums(trace: Trace, known: Mapping[str, int]) -> list[Outcome]:
    """What was read of the file, beside sums that somebody else made of it."""
    read = {EVENTS: len(trace.usages), **trace.totals}
    return [Outcome(f"{what}: known / producer", quantity, read.get(what, 0)) for what, quantity in sorted(known.items())]


def trace_outcomes(here: Running, trace: Trace, lines: Sequence[Line]) -> list[Outcome]:
    """Counts of deliveries and events, and each meter's total at producer, topic, ledger, Stripe's summaries and preview."""
    records, on_topic = topic_totals(here)
    with connect(here.settings.postgres_dsn, "trueup-demo") as connection:
        counted = balances.outcomes(connection)
    rows = [
        Outcome("records on the topic", 2 * len(trace.usages), records),
        Outcome("events in the ledger, on time", len(trace.usages), counted["on_time"]),
        Outcome("duplicates", len(trace.usages), counted["duplicate"]),
        Outcome("late, conflict or refused", 0, counted["late"] + counted["conflict"] + counted["refused"]),
    ]
    for line in totals(lines):
        truth = trace.totals.get(line.meter, 0)
        places = {
            "topic": Decimal(on_topic.get(line.meter, 0)),
            "ledger": Decimal(line.accounts.get("acknowledged", 0)),
            "Stripe's summaries": line.summaries,
            "invoice preview": line.preview,
        }
        rows += [
            Outcome(f"{line.meter}: producer / {place}", to_decimal_text(truth, line.scale), shown(value, line.scale))
            for place, value in places.items()
        ]
    return rows


def shown(value: Decimal, scale: int) -> str:
    """A total in the meter's unit, every digit of it."""
    return to_decimal_text(int(value), scale) if value == value.to_integral_value() else format(value.scaleb(-scale), "f")


def topic_totals(here: Running) -> tuple[int, Mapping[str, int]]:
    """How many records the source topic holds, and what its distinct events add up to per meter."""
    consumer = Consumer(
        {
            **client_options(here.settings),
            "group.id": "trueup.demo",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    topic = TopicNames(here.settings.topic_prefix).usage_events
    partitions = here.settings.partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    decoder, records, ended = Decoder(), 0, 0
    distinct: dict[tuple[str, str], tuple[str, int]] = {}
    until = time.monotonic() + TOPIC_TIMEOUT_SECONDS
    while ended < partitions:
        messages = consumer.consume(10_000, TOPIC_POLL_SECONDS)
        if messages:
            until = time.monotonic() + TOPIC_TIMEOUT_SECONDS
        elif time.monotonic() > until:
            raise RuntimeError(f"{topic} gave nothing for {TOPIC_TIMEOUT_SECONDS:.0f} s")
        for message in messages:
            fault = message.error()
            if fault is not None and fault.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(fault)
            if fault is not None:
                ended += 1
                continue
            records += 1
            event = decoder.decode(message.value())
            if isinstance(event, UsageEvent):
                distinct[event.source, event.id] = (event.meter, event.quantity)
    consumer.close()
    found: dict[str, int] = defaultdict(int)
    for meter, quantity in distinct.values():
        found[meter] += quantity
    return records, found
