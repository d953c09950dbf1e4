"""The simulated month: published burst by burst while the clock moves, then held against its truth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from devstack.demo import stripe_reads
from devstack.demo.closing import Line
from devstack.demo.judgement import Judgement, Outcome, prove_table
from devstack.demo.running import Running, instant_text, running, say
from devstack.demo.stripe_view import look
from devstack.load_generator.deliveries import Burst, Month
from devstack.load_generator.month import Scale, make_month
from devstack.load_generator.records import RecordProducer
from devstack.load_generator.truth import Truth, judge
from devstack.stripe_setup import SetUp, StreetCustomer, create_stripe_objects, record_customers
from trueup.contracts.catalogue import Catalogue
from trueup.contracts.topics import TopicNames
from trueup.ledger.store import balances
from trueup.ledger.store.connection import connect
from trueup.runtime.kafka import producer_options

CATALOGUE = Path(__file__).parents[1] / "load_generator" / "month_v1.toml"
HOUR_MS = 3_600_000
# Stripe's lag is up to an hour, a summary counts as settled after two: then nothing is on its way any more.
REST_MS = 4 * HOUR_MS
# Behind the end of the period: the grace of 24 h until its invoice is final, then a day for what is read and posted of it.
CLOSED_MS = 48 * HOUR_MS
# What one unit costs, in hundredths of a cent: the generator's own list, from which the truth is reckoned in money.
UNIT_COSTS = dict.fromkeys(("input_tokens", "output_tokens", "runs", "audio_seconds", "searches"), 1)
UNIT_SCALES = {"audio_seconds": 3}
TOLD_EVERY_SECONDS = 5.0
ENDS = ("on_time", "late", "duplicate", "conflict", "refused")


def month_end_ms(start_ms: int) -> int:
    """The first instant of the month after the one that begins here."""
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    year, month = (start.year + 1, 1) if start.month == 12 else (start.year, start.month + 1)
    return round(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)


def set_up(here: Running, catalogue_toml: str, customers: Sequence[StreetCustomer], since_ms: int) -> Catalogue:
    """Customers and subscriptions, beside the catalogue that the street has already."""
    wanted = SetUp(catalogue_toml, customers, since_ms)
    create_stripe_objects(here.stripe_url, wanted)
    record_customers(here.settings.postgres_dsn, wanted)
    return wanted.catalogue


def play(here: Running, bursts: Sequence[Burst], until_ms: int) -> None:
    """Publishes every burst when its instant has come, then goes on to a date. The clock moves only when the street is at rest."""
    settings = here.settings
    topic = TopicNames(settings.topic_prefix).usage_events
    producer = RecordProducer(producer_options(settings), topic, settings.partitions, stamp_arrival=True)
    told = time.monotonic()
    published = 0
    for number, burst in enumerate(bursts, start=1):
        here.street.advance_to(burst.at_ms)
        published += producer.publish(burst.deliveries)
        if time.monotonic() - told > TOLD_EVERY_SECONDS or number == len(bursts):
            told = time.monotonic()
            say(f"{instant_text(burst.at_ms)}: burst {number} of {len(bursts)}, {published:,} deliveries")
    say(f"no more deliveries; on to {instant_text(until_ms)}")
    here.street.advance_to(until_ms)
    say(f"{instant_text(until_ms)}: at rest")


def closing_lines(
    here: Running,
    truth: Mapping[tuple[str, str], int],
    customers: Sequence[StreetCustomer],
    catalogue: Catalogue,
    start_ms: int,
    end_ms: int,
) -> list[Line]:
    """Every customer and meter that has usage, or on which anything stands, here or at Stripe."""
    with connect(here.settings.postgres_dsn, "trueup-demo") as connection:
        held = balances.by_customer_and_meter(connection)
    say("reading Stripe's summaries, invoice previews and books")
    view = look(here, [one.stripe_customer for one in customers], start_ms, end_ms)
    by_name = {one.name: one for one in customers}
    found = []
    for customer, meter in sorted(truth.keys() | held.keys()):
        known, declared = by_name.get(customer), catalogue.meters.get(meter)
        event_name = declared.stripe_event_name_for(known.plan if known else None) if declared else None
        place = (known.stripe_customer if known else "", event_name or "")
        scale = declared.scale if declared else 0
        found.append(view.line(customer, meter, scale, truth.get((customer, meter), 0), held.get((customer, meter), {}), place))
    return found + view.unclaimed()


def month_outcomes(here: Running, truth: Truth) -> list[Outcome]:
    """How every delivery ended, against the truth: by count, by reason and, for accepted ones, event by event."""
    with connect(here.settings.postgres_dsn, "trueup-demo") as connection:
        counted = balances.outcomes(connection)
        accepted = balances.events(connection)
        refused = balances.refusals(connection)
    wanted = {(v.source, v.id): v.outcome for v in truth.verdicts if v.outcome in ("on_time", "late")}
    rows = [Outcome("deliveries arrived", len(truth.verdicts), counted["arrived"])]
    rows += [Outcome(f"ended {name}", sum(v.outcome == name for v in truth.verdicts), counted[name]) for name in ENDS]
    rows += [Outcome(f"refused: {reason}", count, refused.get(reason, 0)) for reason, count in sorted(truth.refused_by_reason.items())]
    return [*rows, Outcome("events whose outcome differs", 0, differing(wanted, accepted))]


def money(here: Running, truth: Truth, customers: Sequence[StreetCustomer]) -> list[Outcome]:
    """What every customer was billed, in minor units, against what its usage costs by the generator's own list."""
    sdk = stripe_reads.client(here.stripe_url, here.settings.stripe_api_key)
    billed = stripe_reads.invoiced_minor(sdk, [one.stripe_customer for one in customers])
    owed = {one.name: sum(amounts(truth, one.name)) for one in customers}
    wrong = [one.name for one in customers if billed[one.stripe_customer] != owed[one.name]]
    return [
        Outcome("invoiced, in cents", sum(owed.values()), sum(billed.values())),
        Outcome("customers whose invoices differ", "", ", ".join(wrong)),
    ]


def amounts(truth: Truth, customer: str) -> Iterator[int]:
    """Each meter's line: what came in time at its price, rounded once, half a cent upwards; nothing is owed below zero."""
    for (name, meter), totals in truth.totals.items():
        if name == customer and meter in UNIT_COSTS:
            hundredths = Fraction(max(totals.on_time, 0) * UNIT_COSTS[meter], 10 ** UNIT_SCALES.get(meter, 0))
            yield int(hundredths / 100 + Fraction(1, 2))


def differing(wanted: Mapping[tuple[str, str], str], found: Mapping[tuple[str, str], str]) -> int:
    """How many events are missing, too many, or ended elsewhere."""
    return sum(wanted.get(identity) != found.get(identity) for identity in wanted.keys() | found.keys())


def street_customers(month: Month) -> list[StreetCustomer]:
    """The month's customers as a street knows them."""
    return [StreetCustomer(one.name, one.stripe_customer, one.plan) for one in month.customers]


def run(seed: int, scale: Scale | None = None, truth_file: Path | None = None) -> Judgement:
    """The whole month in a street of its own."""
    toml = CATALOGUE.read_text(encoding="utf-8")
    with running(toml, clock="simulated") as here:
        start_ms = here.now_ms()
        month = make_month(seed, start_ms, month_end_ms(start_ms), scale)
        truth = judge(month.deliveries)
        if truth_file is not None:
            truth.write(truth_file)
        say(f"month: seed {seed}, {len(month.customers)} customers, {len(month.deliveries):,} deliveries in {len(month.bursts)} bursts")
        customers = street_customers(month)
        catalogue = set_up(here, toml, customers, start_ms)
        here.make_stripe_unkind()
        play(here, month.bursts, month_end_ms(start_ms) + CLOSED_MS)
        here.make_stripe_kind()
        calls = here.stripe_calls()
        say(f"stripe: {sum(calls.values()):,} calls; {', '.join(f'{name}: {count:,}' for name, count in sorted(calls.items()))}")
        proof, proved = here.reconcile_and_prove()
        used = {place: totals.quantity for place, totals in truth.totals.items() if totals.on_time_events or totals.late_events}
        lines = closing_lines(here, used, customers, catalogue, start_ms, here.now_ms())
        outcomes = month_outcomes(here, truth) + money(here, truth, customers)
        return Judgement(lines, outcomes, prove_table(proof), proved)
