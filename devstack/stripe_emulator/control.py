"""The emulator's own doors under /_emulator: set-up, trouble, switches, and the books that judge us."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from devstack.stripe_emulator import customers, errors, meters, prices, subscriptions, webhook_endpoints
from devstack.stripe_emulator.aggregation import counted_value
from devstack.stripe_emulator.books import Event, Lane, exact_sum, plain
from devstack.stripe_emulator.call import Answer, Call, stored
from devstack.stripe_emulator.faults import fault_from
from devstack.stripe_emulator.forms import Parameters, form_of_json
from devstack.stripe_emulator.pipeline import Pipeline
from devstack.stripe_emulator.routes import ROUTES
from devstack.stripe_emulator.signing import keys_in_force, new_secret
from devstack.stripe_emulator.state import Object, State
from devstack.stripe_emulator.switches import changed

_DOORS: dict[str, tuple[str, str, Callable[[Call], Answer]]] = {
    "customers": ("customer", "/v1/customers", customers.create),
    "products": ("product", "/v1/products", prices.create_product),
    "prices": ("price", "/v1/prices", prices.create_price),
    "meters": ("meter", "/v1/billing/meters", meters.create),
    "subscriptions": ("subscription", "/v1/subscriptions", subscriptions.create),
    "webhook_endpoints": ("webhook_endpoint", "/v1/webhook_endpoints", webhook_endpoints.create),
}
# What only a door may choose: a signing secret that is known beforehand, and thin events instead of snapshots.
_ONLY_BY_DOOR = ("payload", "secret")

_SHOWN: dict[str, Callable[[Object], Object]] = {
    "price": prices.shown_price,
    "subscription": subscriptions.shown,
    "webhook_endpoint": webhook_endpoints.shown,
}


class Refused(Exception):
    """A control door was asked for something that can't be."""


def set_up(pipeline: Pipeline, noun: str, wish: Any) -> Object:
    """Make an object with a given id, or give the one that has it: Stripe itself lets nobody choose most ids."""
    if noun not in _DOORS:
        raise Refused(f"there is no set-up door for {noun}; there are {', '.join(sorted(_DOORS))}")
    kind, address, create = _DOORS[noun]
    if not isinstance(wish, dict) or not isinstance(wish.get("id"), str) or not wish["id"]:
        raise Refused("a set-up door needs an object with an id")
    state, identifier = pipeline.state, str(wish["id"])
    pipeline.catch_up()
    now = pipeline.clock.now_ms()
    found = state.find(kind, identifier)
    if found is None:
        own = {name: wish.pop(name) for name in _ONLY_BY_DOOR if kind == "webhook_endpoint" and name in wish}
        tree = form_of_json({name: value for name, value in wish.items() if name != "id" or kind == "product"})
        route = next(route for route in ROUTES if route.method == "POST" and route.path == address)
        try:
            parameters = Parameters(tree, accepts=route.accepts, requires=route.requires)
            records = create(Call(state, now, parameters, wished_id=identifier)).records
            pipeline.commit([webhook_endpoints.chosen(record, own) for record in records] if own else records)
        except errors.StripeError as error:
            raise Refused(error.message) from error
        found = state.objects[kind][identifier]
    return _SHOWN.get(kind, dict)(found)


def order_faults(pipeline: Pipeline, orders: Any) -> dict[str, Any]:
    """Put faults in force behind those that stand."""
    orders = [orders] if isinstance(orders, dict) else orders
    if not isinstance(orders, list):
        raise Refused("faults come as a list of objects with path, kind and count")
    try:
        for order in orders:
            fault_from(order)
    except (TypeError, ValueError) as error:
        raise Refused(str(error)) from error
    pipeline.commit([{"record": "faults_added", "faults": orders}])
    return {"faults": pipeline.state.faults.remaining()}


def clear_faults(pipeline: Pipeline) -> dict[str, Any]:
    """Take all faults away."""
    pipeline.commit([{"record": "faults_cleared"}])
    return {"faults": []}


def set_switches(pipeline: Pipeline, wishes: Any) -> dict[str, Any]:
    """Set switches and show all of them."""
    if not isinstance(wishes, dict):
        raise Refused("settings come as an object of switches")
    try:
        changed(pipeline.state.switches, wishes)
    except ValueError as error:
        raise Refused(str(error)) from error
    pipeline.commit([{"record": "switches", "wishes": wishes}])
    return pipeline.state.settings()


def roll_secret(pipeline: Pipeline, wish: Any) -> dict[str, Any]:
    """Give an endpoint a new signing secret; the old one signs too until it expires. Stripe lets do this in its Dashboard only."""
    found = pipeline.state.find("webhook_endpoint", str(wish.get("endpoint"))) if isinstance(wish, dict) else None
    if found is None:
        raise Refused("rolling a secret needs the id of an endpoint")
    secret = str(wish.get("secret") or new_secret())
    until_ms = pipeline.clock.now_ms() + int(float(wish.get("expires_in_seconds", 0)) * 1000)
    old = [{"secret": key, "until_ms": until_ms} for key in keys_in_force(found, pipeline.clock.now_ms())]
    pipeline.commit(stored("webhook_endpoint", {**found, "secrets": [{"secret": secret, "until_ms": None}, *old]}))
    return {"endpoint": found["id"], "secret": secret}


def deliveries(state: State) -> dict[str, Any]:
    """Show what became of each webhook that was not answered well at once, and how many were."""
    every = [delivery for event in state.objects.get("event", {}) for delivery in state.deliveries.of(event)]
    troubled = [asdict(delivery) for delivery in every if delivery.attempts != 1 or delivery.delivered_ms is None]
    return {"ordered": len(every), "delivered": sum(delivery.delivered_ms is not None for delivery in every), "troubled": troubled}


def books(state: State) -> dict[str, Any]:
    """Show everything counted, and what was received but rejected later."""
    shown: dict[str, Any] = {}
    rejected: dict[str, Any] = {}
    for meter in state.objects.get("meter", {}).values():
        lanes = state.books.lanes(meter["id"])
        shown[meter["event_name"]] = {
            customer: _lane_page(meter, lane, state.switches.last_ordering) for customer, lane in sorted(lanes.items())
        }
        rejected[meter["event_name"]] = {
            customer: {"events": len(values), "value": plain(exact_sum(values))}
            for customer, values in sorted(state.rejected.get(meter["id"], {}).items())
        }
    return {"meters": shown, "rejected": rejected, "counted_again": state.counted_again}


def _lane_page(meter: Object, lane: Lane, last_ordering: str) -> dict[str, Any]:
    hours: dict[str, str] = {}
    everything: list[Event] = []
    for start, hour in lane.hours():
        inside = hour.everything()
        hours[rfc3339(start)] = plain(counted_value(meter, inside, last_ordering))
        everything += inside
    return {"events": len(everything), "value": plain(counted_value(meter, everything, last_ordering)), "hours": hours}


def activity(pipeline: Pipeline) -> dict[str, Any]:
    """Say whether a request is under way or something is due; what depends only on the time of reading is no due date."""
    pipeline.catch_up()
    state, now_ms = pipeline.state, pipeline.clock.now_ms()
    ahead = [due.at_ms for due in (state.agendas[""].first(), state.deliveries.first()) if due is not None]
    next_due_ms = min(ahead, default=None)
    waiting = state.deliveries.waiting(now_ms)
    reasons = {f"{pipeline.in_flight} requests in flight": pipeline.in_flight, f"{waiting} webhooks to deliver": waiting}
    why = ", ".join(reason for reason, count in reasons.items() if count)
    if not why and next_due_ms is not None and next_due_ms <= now_ms:
        why = "something is due"
    work = pipeline.answered + pipeline.steps + state.deliveries.attempts
    return {"idle": not why, "work": work, "next_due_ms": next_due_ms, "owns": [], "why": why}


def rfc3339(seconds: int) -> str:
    """Write an instant in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
