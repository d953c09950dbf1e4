"""The simulated month: published burst by burst while the clock moves, then held against its truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from devstack.demo import stripe_reads
from devstack.demo.closing import Line
from devstack.demo.contracts import take_turn
from devstack.demo.judgement import Judgement, Outcome, prove_table
from devstack.demo.running import FAULTY_ANSWERS, Running, instant_text, nothing_pending, running, say
from devstack.demo.stripe_view import look
from devstack.load_generator.deliveries import Burst, Month, Turn
from devstack.load_generator.month import Scale, make_month
from devstack.load_generator.prices import PRICED_BY_PLAN, PRICES, owed_minor
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


def play(here: Running, bursts: Sequence[Burst], until_ms: int, turns: Sequence[tuple[int, Callable[[], None]]] = ()) -> None:
    """Publishes every burst when its instant has come, takes turns at theirs, then goes on to a date.

    The clock moves only when the street is at rest.
    """
    settings = here.settings
    topic = TopicNames(settings.topic_prefix).usage_events
    producer = RecordProducer(producer_options(settings), topic, settings.partitions, stamp_arrival=True)
    told = time.monotonic()
    published = 0
    coming = list(turns)
    for number, burst in enumerate(bursts, start=1):
        while coming and coming[0][0] < burst.at_ms:
            at_ms, take = coming.pop(0)
            here.street.advance_to(at_ms)
            take()
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
    late: Mapping[tuple[str, str], int] | None = None,
    owed: Mapping[tuple[str, str], int] | None = None,
    new_plans: Mapping[str, str] | None = None,
) -> list[Line]:
    """Every customer and meter that has usage, or on which anything stands, here or at Stripe.

    Who changed its plan has two places at Stripe for a meter that each plan counts by itself.
    """
    with connect(here.settings.postgres_dsn, "trueup-demo") as connection:
        held = balances.by_customer_and_meter(connection)
    say("reading Stripe's summaries, invoice previews and books")
    view = look(here, [one.stripe_customer for one in customers], start_ms, end_ms)
    by_name = {one.name: one for one in customers}
    found = []
    for customer, meter in sorted(truth.keys() | held.keys()):
        known, declared = by_name.get(customer), catalogue.meters.get(meter)
        plans = [known.plan if known else None, *([new_plans[customer]] if new_plans and customer in new_plans else [])]
        event_names = {declared.stripe_event_name_for(plan) if declared else None for plan in plans}
        places = {(known.stripe_customer if known else "", event_name or "") for event_name in event_names}
        scale = declared.scale if declared else 0
        used, accounts = truth.get((customer, meter), 0), held.get((customer, meter), {})
        too_late = late.get((customer, meter), 0) if late else 0
        cost = None if owed is None else owed.get((customer, meter), 0)
        found.append(view.line(customer, meter, scale, used, accounts, places, too_late, cost))
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


def owed_of(truth: Truth, customers: Sequence[StreetCustomer], new_plans: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """What came in time costs, per customer and meter, in minor units, by the generator's own list of prices.

    A price that a plan has for itself bills what was used while the customer was on that plan.
    """
    plans = {one.name: one.plan for one in customers}
    owed = {}
    for (customer, meter), totals in truth.totals.items():
        if customer not in plans:
            continue
        new = totals.on_time_of_new_plan if customer in new_plans and meter in PRICED_BY_PLAN else 0
        before = owed_minor(meter, plans[customer], totals.on_time - new)
        owed[customer, meter] = before + owed_minor(meter, new_plans.get(customer, plans[customer]), new)
    return owed


def money(here: Running, owed: Mapping[tuple[str, str], int], customers: Sequence[StreetCustomer]) -> list[Outcome]:
    """What every customer was billed by its invoices' totals, against what its usage costs; and cases of which nobody knows the worth."""
    sdk = stripe_reads.client(here.stripe_url, here.settings.stripe_api_key)
    billed = stripe_reads.invoiced_minor(sdk, [one.stripe_customer for one in customers])
    by_customer = {one.name: sum(cost for (name, _meter), cost in owed.items() if name == one.name) for one in customers}
    wrong = [one.name for one in customers if billed[one.stripe_customer] != by_customer[one.name]]
    with connect(here.settings.postgres_dsn, "trueup-demo") as connection:
        unpriced = balances.cases_without_amount(connection)
    return [
        Outcome("invoiced, in cents", sum(by_customer.values()), sum(billed.values())),
        Outcome("customers whose invoices differ", "", ", ".join(wrong)),
        Outcome("cases of the month's usage without an amount", 0, unpriced),
    ]


def differing(wanted: Mapping[tuple[str, str], str], found: Mapping[tuple[str, str], str]) -> int:
    """How many events are missing, too many, or ended elsewhere."""
    return sum(wanted.get(identity) != found.get(identity) for identity in wanted.keys() | found.keys())


def street_customers(month: Month) -> list[StreetCustomer]:
    """The month's customers as a street knows them."""
    return [StreetCustomer(one.name, one.stripe_customer, one.plan) for one in month.customers]


def run(seed: int, scale: Scale | None = None, truth_file: Path | None = None) -> Judgement:
    """The whole month in a street of its own."""
    toml = CATALOGUE.read_text(encoding="utf-8")
    with running(toml, clock="simulated", amounts=PRICES) as here:
        start_ms = here.now_ms()
        month = make_month(seed, start_ms, month_end_ms(start_ms), scale)
        changes = [contract for contract in month.contracts if contract.turn is Turn.CHANGES_PLAN]
        truth = judge(month.deliveries, {change.customer.name: change.at_ms for change in changes})
        new_plans = {change.customer.name: change.new_plan for change in changes if change.new_plan}
        if truth_file is not None:
            truth.write(truth_file)
        say(f"month: seed {seed}, {len(month.customers)} customers, {len(month.deliveries):,} deliveries in {len(month.bursts)} bursts")
        customers = street_customers(month)
        new = {contract.customer.name for contract in month.contracts if contract.turn is Turn.SIGNS_UP}
        catalogue = set_up(here, toml, [one for one in customers if one.name not in new], start_ms)
        turns = [(contract.at_ms, partial(take_turn, here, contract, catalogue, start_ms)) for contract in month.contracts]
        here.make_stripe_unkind()
        play(here, month.bursts, month_end_ms(start_ms) + CLOSED_MS, turns)
        here.make_stripe_kind()
        calls = here.stripe_calls()
        say(f"stripe: {sum(calls.values()):,} calls; {', '.join(f'{name}: {count:,}' for name, count in sorted(calls.items()))}")
        proof, proved = here.reconcile_and_prove()
        used = {place: totals.quantity for place, totals in truth.totals.items() if totals.on_time_events or totals.late_events}
        owed = owed_of(truth, customers, new_plans)
        late = {place: totals.late for place, totals in truth.totals.items()}
        lines = closing_lines(here, used, customers, catalogue, start_ms, here.now_ms(), late, owed, new_plans)
        outcomes = month_outcomes(here, truth) + money(here, owed, customers)
        troubled = [answer for answer in FAULTY_ANSWERS if calls.get(answer, 0)]
        outcomes.append(Outcome("how Stripe failed, on purpose", ", ".join(FAULTY_ANSWERS), ", ".join(troubled)))
        return Judgement(lines, outcomes, prove_table(proof), proved and nothing_pending(proof))
