"""The meters a catalogue needs, beside those that Stripe has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import requests
import stripe

from trueup.cli.faults import UsageFault
from trueup.cli.target import Target
from trueup.contracts.catalogue import Catalogue
from trueup.contracts.errors import Transient
from trueup.runtime.stripe_client import stripe_client

CUSTOMER_KEY = "stripe_customer_id"
VALUE_KEY = "value"
FORMULA = "sum"


@dataclass(frozen=True, slots=True)
class MeterCheck:
    """One Stripe meter that the catalogue needs: `ok`, `missing`, or `unfit` with the reason."""

    stripe_event_name: str
    meter: str
    state: str
    detail: str


def client_for(target: Target) -> stripe.StripeClient:
    """The Stripe account of this deployment."""
    if not target.settings.stripe_api_key:
        raise UsageFault("TRUEUP_STRIPE_API_KEY is not set (or TRUEUP_STRIPE_API_KEY_FILE)")
    return stripe_client(target.settings.stripe_api_key, target.settings.stripe_url)


def needed(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Every (Stripe event name, meter) of a catalogue."""
    for name, meter in catalogue.meters.items():
        for event_name in meter.stripe_event_names:
            yield event_name, name


def unfit(meter: Any) -> str:
    """What is wrong with a Stripe meter for our purpose; empty when nothing is."""
    wrong = []
    if meter.status != "active":
        wrong.append(f"it is {meter.status}")
    if meter.default_aggregation.formula != FORMULA:
        wrong.append(f"its formula is {meter.default_aggregation.formula}, not {FORMULA}")
    if meter.customer_mapping.event_payload_key != CUSTOMER_KEY:
        wrong.append(f"its customer key is {meter.customer_mapping.event_payload_key}, not {CUSTOMER_KEY}")
    if meter.value_settings.event_payload_key != VALUE_KEY:
        wrong.append(f"its value key is {meter.value_settings.event_payload_key}, not {VALUE_KEY}")
    if getattr(meter, "event_time_window", None):
        wrong.append(f"it keeps only the newest event of each {meter.event_time_window}")
    return "; ".join(wrong)


def check_meters(client: stripe.StripeClient, catalogue: Catalogue) -> list[MeterCheck]:
    """Each meter that the catalogue needs, as Stripe has it."""
    try:
        present = {meter.event_name: meter for meter in client.v1.billing.meters.list({"limit": 100}).auto_paging_iter()}
    except (stripe.StripeError, requests.RequestException) as failure:
        raise Transient(f"Stripe's meters can't be read: {failure}") from failure
    return [_check(event_name, meter, present.get(event_name)) for event_name, meter in needed(catalogue)]


def _check(event_name: str, meter: str, found: Any) -> MeterCheck:
    if found is None:
        return MeterCheck(event_name, meter, "missing", "Stripe has no meter of this event name")
    wrong = unfit(found)
    return MeterCheck(event_name, meter, "unfit" if wrong else "ok", wrong or str(found.id))


def create_meters(client: stripe.StripeClient, missing: Sequence[MeterCheck]) -> list[str]:
    """Creates the meters that Stripe lacks; the idempotency key makes a second run give the first one's answer."""
    created = []
    for check in missing:
        try:
            created.append(_create(client, check.stripe_event_name))
        except (stripe.StripeError, requests.RequestException) as failure:
            made = f"; created were {', '.join(created)}" if created else ""
            raise Transient(f"Stripe did not create the meter {check.stripe_event_name}, type it again: {failure}{made}") from failure
    return created


def _create(client: stripe.StripeClient, event_name: str) -> str:
    meter = client.v1.billing.meters.create(
        {
            "display_name": event_name.replace("_", " ").capitalize(),
            "event_name": event_name,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"event_payload_key": CUSTOMER_KEY, "type": "by_id"},
            "value_settings": {"event_payload_key": VALUE_KEY},
        },
        {"idempotency_key": f"trueup-meter-{event_name}"},
    )
    return str(meter.id)
