"""Every object beside the SDK's own types, which others generated from Stripe's own specification."""

from __future__ import annotations

import typing
from typing import Any

import pytest
import stripe
from stripe import params
from stripe.params import billing as billing_params
from stripe.params import test_helpers as clock_params
from stripe.params.v2 import core as v2_core_params

from devstack.stripe_emulator.routes import ROUTES
from tests.system.emulator.running import RunningEmulator, World, make_world

# Every call of the SDK may carry these beside its parameters; they never reach the form.
_OPTIONS = set(stripe.RequestOptions.__annotations__)


def members(kind: type) -> dict[str, str]:
    """Give the members of one of the SDK's objects, as written down there."""
    return {name: str(kind) for name, kind in kind.__annotations__.items() if name != "OBJECT_NAME"}


def assert_shape(answer: dict[str, Any], kind: Any, *, beside: frozenset[str] = frozenset()) -> None:
    """Demand every member that the SDK says is always there, and none that it does not know."""
    known = members(kind)
    always = {name for name, text in known.items() if "Optional" not in text and "NoneType" not in text}
    assert set(answer) <= set(known) | beside, f"unknown: {set(answer) - set(known) - beside}"
    assert always <= set(answer), f"missing: {always - set(answer)}"
    assert all(answer[name] is not None for name in always), f"null: {[name for name in always if answer[name] is None]}"


def subscribe(world: World, **price: Any) -> dict[str, Any]:
    """Make a product, a price and a subscription to it."""
    product = world.stripe.v1.products.create({"name": "Usage"})
    recurring = {"interval": "month", "usage_type": "metered", "meter": world.meter}
    wish: Any = {"currency": "usd", "product": product.id, "recurring": recurring, **(price or {"unit_amount": 5})}
    made = world.stripe.v1.prices.create(wish)
    subscription = world.stripe.v1.subscriptions.create({"customer": world.customer, "items": [{"price": made.id}]})
    return {"product": product.to_dict(), "price": made.to_dict(), "subscription": subscription.to_dict()}


def test_objects_have_the_members_of_the_sdk(world: World) -> None:
    """E1, E19 and the rest: no member missing that the SDK promises, none that it does not know."""
    world.switch(aggregation_lag_maximum_seconds=0)
    made = subscribe(world)
    assert_shape(world.report().to_dict(), stripe.billing.MeterEvent)
    assert_shape(world.stripe.v1.billing.meters.retrieve(world.meter).to_dict(), stripe.billing.Meter)
    start = world.clock.now // 60 * 60
    assert_shape(world.summaries(start, start + 60).data[0].to_dict(), stripe.billing.MeterEventSummary)
    assert_shape(world.stripe.v1.customers.retrieve(world.customer).to_dict(), stripe.Customer)
    assert_shape(world.stripe.v1.accounts.retrieve_current().to_dict(), stripe.Account)
    assert_shape(made["product"], stripe.Product)
    assert_shape(made["price"], stripe.Price)
    assert_shape(made["subscription"], stripe.Subscription)
    assert_shape(made["subscription"]["items"]["data"][0], stripe.SubscriptionItem)
    assert_shape(made["subscription"]["items"]["data"][0]["plan"], stripe.Plan)
    invoice = world.stripe.v1.invoices.create_preview({"customer": world.customer}).to_dict()
    assert_shape(invoice, stripe.Invoice)
    assert_shape(invoice["lines"]["data"][0], stripe.InvoiceLineItem)


_PARAMETERS: dict[str, Any] = {
    "POST /v1/billing/meter_events": billing_params.MeterEventCreateParams,
    "POST /v1/billing/meters": billing_params.MeterCreateParams,
    "GET /v1/billing/meters": billing_params.MeterListParams,
    "POST /v1/billing/meters/{id}": billing_params.MeterModifyParams,
    "GET /v1/billing/meters/{id}/event_summaries": billing_params.MeterListEventSummariesParams,
    "POST /v1/customers": params.CustomerCreateParams,
    "POST /v1/customers/{id}": params.CustomerModifyParams,
    "GET /v1/customers": params.CustomerListParams,
    "POST /v1/products": params.ProductCreateParams,
    "GET /v1/products": params.ProductListParams,
    "POST /v1/prices": params.PriceCreateParams,
    "GET /v1/prices": params.PriceListParams,
    "POST /v1/subscriptions": params.SubscriptionCreateParams,
    "GET /v1/subscriptions": params.SubscriptionListParams,
    "POST /v1/invoices/create_preview": params.InvoiceCreatePreviewParams,
    "GET /v1/invoices": params.InvoiceListParams,
    "POST /v1/invoices/{id}": params.InvoiceModifyParams,
    "GET /v1/invoices/{id}/lines": params.InvoiceListLinesParams,
    "POST /v1/subscriptions/{id}": params.SubscriptionModifyParams,
    "DELETE /v1/subscriptions/{id}": params.SubscriptionCancelParams,
    "GET /v2/core/events": v2_core_params.EventListParams,
    "POST /v1/test_helpers/test_clocks": clock_params.TestClockCreateParams,
    "GET /v1/test_helpers/test_clocks": clock_params.TestClockListParams,
    "POST /v1/test_helpers/test_clocks/{id}/advance": clock_params.TestClockAdvanceParams,
    "GET /v1/subscription_items": params.SubscriptionItemListParams,
    "GET /v1/events": params.EventListParams,
    "POST /v1/webhook_endpoints": params.WebhookEndpointCreateParams,
    "GET /v1/webhook_endpoints": params.WebhookEndpointListParams,
    "POST /v1/webhook_endpoints/{id}": params.WebhookEndpointModifyParams,
}
# Stripe needs these, though the SDK cannot say so: it also takes a customer_account, and trials without items.
# The next page of a v2 list is asked for by the address that the last one gave.
_ASKED_BY_ADDRESS = {"GET /v2/core/events": {"page"}}
_NEEDED_HERE = {"POST /v1/subscriptions": {"customer", "items"}}


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.accepts or route.requires], ids=lambda route: f"{route.method} {route.path}"
)
def test_parameters_have_the_names_of_the_sdk(route: Any) -> None:
    """No parameter of our own making, and exactly Stripe's required ones."""
    address = f"{route.method} {route.path}"
    annotations = {name: kind for name, kind in _PARAMETERS[address].__annotations__.items() if name not in _OPTIONS}
    required = {name for name, kind in annotations.items() if typing.get_origin(kind) is not typing.NotRequired}
    assert (route.accepts | set(route.requires)) - _ASKED_BY_ADDRESS.get(address, set()) <= set(annotations)
    assert set(route.requires) - _NEEDED_HERE.get(address, set()) == required


def reach_the_month(world: World, made: dict[str, Any]) -> None:
    """Call what belongs to a billing month."""
    client: Any = world.stripe.v1
    item = made["subscription"]["items"]["data"][0]
    world.clock.set_ms(item["current_period_end"] * 1000)
    assert client.subscription_items.list({"subscription": made["subscription"]["id"]}).data[0].id == item["id"]
    (invoice,) = client.invoices.list({"customer": world.customer}).data
    client.invoices.update(invoice.id, {"metadata": {"seen": "yes"}})
    client.invoices.finalize_invoice(invoice.id)
    client.invoices.retrieve(invoice.id)
    client.invoices.line_items.list(invoice.id)
    event = client.events.list({"limit": 1}).data[0]
    client.events.retrieve(event.id)
    endpoint = client.webhook_endpoints.create({"url": "http://127.0.0.1:9/", "enabled_events": ["account.updated"]})
    client.webhook_endpoints.list()
    client.webhook_endpoints.retrieve(endpoint.id)
    client.webhook_endpoints.update(endpoint.id, {"disabled": True})
    client.webhook_endpoints.delete(endpoint.id)
    clocks = client.test_helpers.test_clocks
    clock = clocks.create({"frozen_time": world.clock.now})
    clocks.advance(clock.id, {"frozen_time": world.clock.now + 1})
    clocks.retrieve(clock.id)
    clocks.list()
    clocks.delete(clock.id)
    world.trouble("reject")
    world.report()
    world.clock.advance(20)
    thin = world.stripe.v2.core.events
    thin.retrieve(thin.list().data[0].id)
    client.subscriptions.update(made["subscription"]["id"], {"metadata": {"seen": "yes"}})
    client.subscriptions.cancel(made["subscription"]["id"])


def test_each_emulated_address_is_one_of_the_sdk(emulator: RunningEmulator) -> None:
    """The SDK's own calls reach every route: none was made up."""
    world = make_world(emulator)
    made = subscribe(world)
    client = world.stripe.v1
    client.balance.retrieve()
    client.accounts.retrieve_current()
    client.billing.meters.list()
    client.billing.meters.update(world.meter, {})
    client.billing.meters.retrieve(world.meter)
    client.billing.meters.deactivate(world.meter)
    client.billing.meters.reactivate(world.meter)
    world.report()
    world.summaries(0, 60)
    client.customers.list()
    client.customers.update(world.customer, {"name": "x"})
    client.customers.retrieve(world.customer)
    client.products.list()
    client.products.retrieve(made["product"]["id"])
    client.prices.list()
    client.prices.retrieve(made["price"]["id"])
    client.subscriptions.list()
    client.subscriptions.retrieve(made["subscription"]["id"])
    client.invoices.create_preview({"subscription": made["subscription"]["id"]})
    reach_the_month(world, made)
    client.customers.delete(world.customer)
    counts = emulator.ask("requests", limit=0)["counts"]
    reached = {endpoint for endpoint, outcomes in counts.items() if "200" in outcomes}
    assert {f"{route.method} {route.path}" for route in ROUTES} <= reached
