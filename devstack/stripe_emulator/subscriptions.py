"""Subscriptions to metered prices; the items know the billing period, the subscription does not."""

from __future__ import annotations

from collections.abc import Collection

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.billing_periods import period_at
from devstack.stripe_emulator.call import Answer, Call, Route, due, object_id, stored
from devstack.stripe_emulator.events import occurred
from devstack.stripe_emulator.forms import Parameters
from devstack.stripe_emulator.lists import DEFAULT_LIMIT, PAGING, envelope, page
from devstack.stripe_emulator.prices import shown_price
from devstack.stripe_emulator.state import Object

_MOST_ITEMS = 20
_PRIVATE = frozenset({"billed_from", "pending_spans"})
_STATUSES = ("active", "all", "canceled", "ended", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")


def create(call: Call) -> Answer:
    """Subscribe a customer."""
    parameters = call.parameters
    customer = parameters.needed_text("customer")
    found = call.state.find("customer", customer)
    if found is None or found.get("deleted"):
        raise errors.no_such("customer", customer, "customer")
    now = call.state.now_ms_for(customer, call.now_ms) // 1000
    start = parameters.integer("backdate_start_date")
    start = now if start is None else start
    if start > now:
        raise errors.StripeError("backdate_start_date must be in the past.", parameter="backdate_start_date")
    anchor = parameters.integer("billing_cycle_anchor")
    # Stripe anchors a backdated subscription at its making; a set-up door may anchor it at its start instead.
    anchor = (start if call.wished_id else now) if anchor is None else anchor
    identifier = call.new_id("sub")
    items = [item_of(call, identifier, number, wish) for number, wish in enumerate(_wished_items(parameters))]
    items = [{**item, **period_of(item, now, start, anchor)} for item in items]
    made = _subscription(call, identifier, customer, start, anchor, items)
    made["test_clock"] = found.get("test_clock")
    records = [*stored("subscription", made), due(found.get("test_clock") or "", "period_end", identifier, next_end(made) * 1000)]
    records += occurred(call.state, "customer.subscription.created", shown(made), now * 1000, deliver_ms=call.now_ms)
    return Answer(shown(made), records)


def _wished_items(parameters: Parameters) -> list[Parameters]:
    items = parameters.children("items", accepts=("id", "metadata"), requires=("price",))
    if not 0 < len(items) <= _MOST_ITEMS:
        raise errors.StripeError(f"A subscription has 1 to {_MOST_ITEMS} items.", parameter="items")
    return items


def item_of(call: Call, subscription: str, number: int, wish: Parameters) -> Object:
    """Make an item; metered ones have no quantity."""
    # A set-up door that names the subscription gets items with names that can be foretold.
    identifier = f"si_{subscription.removeprefix('sub_')}_{number}" if call.wished_id else object_id("si")
    return {
        "id": identifier,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": call.now,
        "discounts": [],
        "metadata": wish.mapping("metadata"),
        **priced(call, wish.needed_text("price"), f"items[{number}][price]"),
        "subscription": subscription,
        "tax_rates": [],
    }


def priced(call: Call, price_id: str, parameter: str) -> Object:
    """Give the parts of an item that its price decides."""
    price = call.state.find("price", price_id)
    if price is None:
        raise errors.no_such("price", price_id, parameter)
    if price["recurring"] is None or price["recurring"]["usage_type"] != "metered":
        raise errors.StripeError(f"The emulator subscribes to metered prices only, not to {price_id}.", parameter=parameter)
    return {"plan": _plan(price), "price": price}


def _plan(price: Object) -> Object:
    """Show a price in the older shape that items still carry."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def _subscription(call: Call, identifier: str, customer: str, start: int, anchor: int, items: list[Object]) -> Object:
    mode = call.parameters.child("billing_mode", accepts=("type",))
    kind = (mode and mode.choice("type", ("classic", "flexible"))) or "flexible"
    currencies = {item["price"]["currency"] for item in items}
    if len(currencies) > 1:
        raise errors.StripeError("All prices on a subscription must have the same `currency`.", parameter="items")
    return {
        "id": identifier,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": anchor,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"} if kind == "flexible" else None, "type": kind},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": call.now,
        "currency": currencies.pop(),
        "customer": customer,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": call.parameters.text("description"),
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": items,
        "latest_invoice": None,
        "livemode": False,
        "metadata": call.parameters.mapping("metadata"),
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {"payment_method_options": None, "payment_method_types": None, "save_default_payment_method": "off"},
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_spans": [],
        "pending_update": None,
        "schedule": None,
        "start_date": start,
        "status": "active",
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
    }


def shown(subscription: Object, expand: Collection[str] = (), prefix: str = "") -> Object:
    """Give a subscription with its items as a list."""
    expansion = prefix + "items.data.price."
    items = items_of(subscription, expand, expansion)
    address = f"/v1/subscription_items?subscription={subscription['id']}"
    listed = envelope(items[:DEFAULT_LIMIT], address, has_more=len(items) > DEFAULT_LIMIT)
    return {**_public(subscription), "items": {**listed, "total_count": len(items)}}


def items_of(subscription: Object, expand: Collection[str], expansion: str) -> list[Object]:
    """Give all items of a subscription as they are shown."""
    return [{**_public(item), "price": shown_price(item["price"], expand, expansion)} for item in subscription["items"]]


def _public(known: Object) -> Object:
    """Leave out what the emulator remembers for itself."""
    return {name: value for name, value in known.items() if name not in _PRIVATE}


def period_of(item: Object, now: int, start: int, anchor: int) -> Object:
    """Give the billing period of an item that holds an instant."""
    recurring = item["price"]["recurring"]
    begins, ends = period_at(now, start, anchor, recurring["interval"], recurring["interval_count"])
    return {"current_period_end": ends, "current_period_start": begins}


def next_end(subscription: Object) -> int:
    """Give when the first of the items' periods ends."""
    return min(int(item["current_period_end"]) for item in subscription["items"])


def retrieve(call: Call) -> Answer:
    """Show a subscription."""
    return Answer(shown(call.needed("subscription"), call.expand))


def listed(call: Call) -> Answer:
    """List subscriptions, newest first; those that are cancelled only when asked for."""
    parameters = call.parameters
    customer, price = parameters.text("customer"), parameters.text("price")
    status = parameters.choice("status", _STATUSES)
    chosen = [
        shown(subscription, call.expand, "data.")
        for subscription in call.state.newest_first("subscription")
        if customer in (None, subscription["customer"])
        and _is_listed(subscription, status)
        and (price is None or any(item["price"]["id"] == price for item in subscription["items"]))
    ]
    return Answer(page(chosen, parameters, "/v1/subscriptions", "subscription"))


def _is_listed(subscription: Object, status: str | None) -> bool:
    if status is None:
        return bool(subscription["status"] != "canceled")
    return status == "all" or subscription["status"] == ("canceled" if status == "ended" else status)


def list_items(call: Call) -> Answer:
    """List the items of a subscription."""
    identifier = call.parameters.needed_text("subscription")
    found = call.state.find("subscription", identifier)
    if found is None:
        raise errors.no_such("subscription", identifier, "subscription", status=404)
    items = items_of(found, call.expand, "data.price.")
    return Answer(page(items, call.parameters, "/v1/subscription_items", "subscription_item"))


_ACCEPTED = frozenset({"backdate_start_date", "billing_cycle_anchor", "billing_mode", "description", "metadata"})
ROUTES = (
    Route("POST", "/v1/subscriptions", create, _ACCEPTED, ("customer", "items")),
    Route("GET", "/v1/subscriptions", listed, PAGING | {"customer", "price", "status"}, (), frozenset({"data.items.data.price.tiers"})),
    Route("GET", "/v1/subscriptions/{id}", retrieve, expands=frozenset({"items.data.price.tiers"})),
    Route("GET", "/v1/subscription_items", list_items, PAGING, ("subscription",)),
)
