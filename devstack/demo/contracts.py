"""What happens to a customer's contract while the month runs, done as a user of Stripe and of `trueup` does it."""

from __future__ import annotations

from http import HTTPStatus

import requests

from devstack.demo import stripe_reads
from devstack.demo.running import Running, instant_text, say
from devstack.load_generator.deliveries import Contract, Turn
from devstack.stripe_setup import StreetCustomer, door, prices, subscribe, subscription_id
from trueup.contracts.catalogue import Catalogue

FLUSH_TIMEOUT_SECONDS = 120
# Stripe's summaries lag up to an hour; usage that they do not show yet is asked for again.
ASK_AGAIN_MS = 30 * 60_000
MOST_ASKED = 8


def street_customer(contract: Contract) -> StreetCustomer:
    """The customer as a street knows it."""
    one = contract.customer
    return StreetCustomer(one.name, one.stripe_customer, one.plan)


def take_turn(here: Running, contract: Contract, catalogue: Catalogue, month_start_ms: int) -> None:
    """Do it now."""
    customer = street_customer(contract)
    match contract.turn:
        case Turn.SIGNS_UP:
            sign_up(here, customer, catalogue, month_start_ms)
        case Turn.CANCELS:
            cancel(here, customer)
        case Turn.CHANGES_PLAN:
            change_plan(here, customer, contract.new_plan, catalogue)
    say(f"{instant_text(here.now_ms())}: {customer.name} {contract.turn}")


def sign_up(here: Running, customer: StreetCustomer, catalogue: Catalogue, since_ms: int) -> None:
    """Customer and subscription at Stripe, from the beginning of the month, and the mapping. What it used before waits for that."""
    door(here.stripe_url, "customers", {"id": customer.stripe_customer, "name": customer.name})
    subscribe(here.stripe_url, customer, catalogue, since_ms)
    here.must("customers", "map", customer.name, customer.stripe_customer, "--reason", "signed up", "--yes")


def cancel(here: Running, customer: StreetCustomer) -> None:
    """Everything sent and confirmed first, then the end of the subscription with its last invoice."""
    flush(here, customer)
    sdk = stripe_reads.client(here.stripe_url, here.settings.stripe_api_key)
    sdk.v1.subscriptions.cancel(subscription_id(customer), {"invoice_now": True})


def change_plan(here: Running, customer: StreetCustomer, new_plan: str | None, catalogue: Catalogue) -> None:
    """Everything sent and confirmed first, then another price behind each item that the new plan has another one for."""
    if new_plan is None:
        raise ValueError(f"{customer.name} changes its plan, to which one?")
    flush(here, customer)
    of_meter = {event_name: meter.name for meter in catalogue.meters.values() for event_name in meter.stripe_event_names}
    bills = {price: of_meter[event_name] for price, event_name in prices(catalogue).items()}
    wanted = {bills[price]: price for price in catalogue.plans[new_plan].stripe_prices if price in bills}
    sdk = stripe_reads.client(here.stripe_url, here.settings.stripe_api_key)
    items = sdk.v1.subscriptions.retrieve(subscription_id(customer))["items"].data
    swaps = [(item.id, wanted[bills[item.price.id]]) for item in items if wanted[bills[item.price.id]] != item.price.id]
    sdk.v1.subscriptions.update(subscription_id(customer), {"items": [{"id": item, "price": price} for item, price in swaps]})


def flush(here: Running, customer: StreetCustomer) -> None:
    """Asks the door until everything is sent and confirmed.

    RuntimeError when usage is still not confirmed after hours: whoever cancels or swaps then loses it.
    """
    said = here.street.describe()
    url, headers = f"{said['ingest_url']}/v1/customers/{customer.name}/flush", {"Authorization": f"Bearer {said['ingest_api_key']}"}
    for _ in range(MOST_ASKED):
        answer = requests.post(url, headers=headers, timeout=FLUSH_TIMEOUT_SECONDS)
        if answer.status_code == HTTPStatus.OK:
            break
        if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise RuntimeError(f"the flush of {customer.name} was refused: {answer.text}")
        here.street.advance_to(here.now_ms() + ASK_AGAIN_MS)
    else:
        raise RuntimeError(f"the flush of {customer.name} did not end: {answer.text}")
