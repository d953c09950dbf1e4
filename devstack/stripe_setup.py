"""What a new street finds set up, so that usage flows at once.

Its catalogue on the topic, Stripe objects in the emulator, customers mapped and subscribed, dispatch armed.
Everything here may run again: it finds what it made before and leaves it alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from trueup.contracts.catalogue import Catalogue, CatalogueVersion, parse
from trueup.contracts.codec import encode_catalogue_version
from trueup.contracts.topics import TopicNames
from trueup.ledger.store import customers as mappings
from trueup.ledger.store import plans
from trueup.ledger.store.connection import connect
from trueup.ledger.store.dispatch import arming
from trueup.runtime.clock import clock_from
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, client_options, producer_options
from trueup.runtime.settings import StreetSettings

DOOR_TIMEOUT_SECONDS = 30
STRIPES_LONGEST_GRACE_SECONDS = 72 * 3600
PRODUCT = "prod_usage"
UNIT_AMOUNT_CENTS = "0.01"
REASON = "set up with the local street"
RECORDED_BY = "devstack"


@dataclass(frozen=True, slots=True)
class StreetCustomer:
    """A customer that the street is born with."""

    name: str
    stripe_customer: str
    plan: str


ACME_AND_GLOBEX = (StreetCustomer("acme", "cus_acme", "basic"), StreetCustomer("globex", "cus_globex", "basic"))


@dataclass(frozen=True, slots=True)
class SetUp:
    """What to set up: the catalogue's text, the customers, since when they are subscribed, and what prices cost if not a hundredth cent."""

    catalogue_toml: str
    customers: Sequence[StreetCustomer]
    subscribed_since_ms: int
    amounts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def catalogue(self) -> Catalogue:
        """What the catalogue says."""
        return parse(self.catalogue_toml)


def prepare(settings: StreetSettings, set_up: SetUp) -> None:
    """Brings a street to where usage flows: catalogue, Stripe objects, customers and their plans, dispatch armed.

    The ledger's schema, the topics and the emulator must be there; the rooms need not.
    """
    if settings.stripe_url is None:
        raise ValueError("the street sets nothing up in the real Stripe")
    create_stripe_objects(settings.stripe_url, set_up)
    append_first_version(settings, set_up.catalogue_toml)
    record_customers(settings.postgres_dsn, set_up)
    arm_emulator(settings)


def create_stripe_objects(stripe_url: str, set_up: SetUp) -> None:
    """Meters, prices, customers and subscriptions, with ids that can be foretold."""
    catalogue = set_up.catalogue
    # What an account has set in its Dashboard, and its catalogue says again.
    # A trace of several days has a grace behind its window; Stripe allows 72 h, and so does the emulator.
    grace = {"finalization_grace_seconds": min(catalogue.policy.finalization_grace_seconds, STRIPES_LONGEST_GRACE_SECONDS)}
    requests.post(f"{stripe_url}/_emulator/settings", json=grace, timeout=DOOR_TIMEOUT_SECONDS).raise_for_status()
    meters = {}
    for event_name in event_names(catalogue):
        meters[event_name] = f"mtr_{event_name}"
        formula = {"display_name": event_name, "event_name": event_name, "default_aggregation": {"formula": "sum"}}
        door(stripe_url, "meters", {"id": meters[event_name], **formula})
    door(stripe_url, "products", {"id": PRODUCT, "name": "Usage"})
    for price, event_name in prices(catalogue).items():
        recurring = {"interval": "month", "usage_type": "metered", "meter": meters[event_name]}
        wish = {
            "currency": "usd",
            "product": PRODUCT,
            "recurring": recurring,
            "nickname": event_name,
            **set_up.amounts.get(price, {"unit_amount_decimal": UNIT_AMOUNT_CENTS}),
        }
        door(stripe_url, "prices", {"id": price, **wish})
    for customer in set_up.customers:
        door(stripe_url, "customers", {"id": customer.stripe_customer, "name": customer.name})
        subscribe(stripe_url, customer, catalogue, set_up.subscribed_since_ms)


def subscribe(stripe_url: str, customer: StreetCustomer, catalogue: Catalogue, since_ms: int) -> None:
    """One monthly subscription to everything that the customer's plan has a price for."""
    known = prices(catalogue)
    items = [{"price": price} for price in catalogue.plans[customer.plan].stripe_prices if price in known]
    door(
        stripe_url,
        "subscriptions",
        {"id": subscription_id(customer), "customer": customer.stripe_customer, "items": items, "backdate_start_date": since_ms // 1000},
    )


def subscription_id(customer: StreetCustomer) -> str:
    """The subscription that a street gives a customer."""
    return f"sub_{customer.stripe_customer.removeprefix('cus_')}"


def door(stripe_url: str, noun: str, wish: dict[str, Any]) -> None:
    """One object through the emulator's set-up door, which gives the object of that id if there is one."""
    answer = requests.post(f"{stripe_url}/_emulator/{noun}", json=wish, timeout=DOOR_TIMEOUT_SECONDS)
    if not answer.ok:
        raise RuntimeError(f"the emulator made no {noun} {wish['id']}: {answer.text}")


def event_names(catalogue: Catalogue) -> Iterator[str]:
    """Every Stripe event name of a catalogue."""
    for meter in catalogue.meters.values():
        yield from meter.stripe_event_names


def prices(catalogue: Catalogue) -> dict[str, str]:
    """Which Stripe event name each price of the catalogue bills, told by the price's name; else in the order of the file."""
    found: dict[str, str] = {}
    for plan in catalogue.plans.values():
        by_name: dict[str, str] = {}
        for meter in catalogue.meters.values():
            event_name = meter.stripe_event_name_for(plan.name)
            if event_name is not None:
                by_name |= {f"price_{event_name}": event_name, f"price_{plan.name}_{meter.name}": event_name}
        found |= {price: by_name[price] for price in plan.stripe_prices if price in by_name}
        left = [name for name in dict.fromkeys(by_name.values()) if name not in found.values()]
        unnamed = [price for price in plan.stripe_prices if price not in found]
        found |= dict(zip(unnamed, left, strict=False))
    return found


def append_first_version(settings: StreetSettings, catalogue_toml: str) -> None:
    """Puts the catalogue on its topic if that is empty: the first version holds from the beginning."""
    topic = TopicNames(settings.topic_prefix).catalogue
    if holds_records(settings, topic):
        return
    clock = clock_from(settings.clock)
    version = CatalogueVersion(1, catalogue_toml, RECORDED_BY, REASON)
    failures: list[Any] = []
    # A broker that has only just begun answers "later" once or twice, which the client would print.
    producer = Producer({**producer_options(settings), "log_level": 2})
    producer.produce(
        topic,
        key=b"1",
        value=encode_catalogue_version(version),
        # Only under the simulated clock is the append time ours to say.
        timestamp=clock.now_ms() if clock.simulated else 0,
        on_delivery=lambda fault, _: failures.append(fault) if fault is not None else None,
    )
    if producer.flush(REQUEST_TIMEOUT_SECONDS) or failures:
        raise RuntimeError(f"the catalogue did not reach its topic: {failures}")


def holds_records(settings: StreetSettings, topic: str) -> bool:
    """Whether a one-partition topic has any record."""
    consumer = Consumer({**client_options(settings), "group.id": "trueup.street", "enable.auto.commit": False})
    try:
        offsets = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=REQUEST_TIMEOUT_SECONDS)
    finally:
        consumer.close()
    if offsets is None:
        raise KafkaException(f"{topic}: no answer about its offsets")
    low, high = offsets
    return bool(high > low)


def arm_emulator(settings: StreetSettings) -> None:
    """Arms dispatch for the emulator, unless somebody has armed or disarmed this very database before."""
    with connect(settings.postgres_dsn, "trueup-devstack") as connection:
        found = arming.status(connection)
        if found.armed or found.why.startswith("disarmed"):
            return
        report = arming.arm(connection, StripeMeters(settings.stripe_api_key, settings.stripe_url), reason=REASON, by=RECORDED_BY)
    if not report.armed:
        raise RuntimeError(f"dispatch could not be armed for the emulator: {report.why}")


def record_customers(dsn: str, set_up: SetUp) -> None:
    """Maps each customer and records since when it is on its plan."""
    with connect(dsn, "trueup-devstack") as connection:
        for customer in set_up.customers:
            mappings.map_customer(connection, customer.name, customer.stripe_customer, reason=REASON, recorded_by=RECORDED_BY)
            fact = plans.PlanFact(customer.name, customer.plan, set_up.subscribed_since_ms, subscription_id(customer))
            plans.record(connection, fact)
