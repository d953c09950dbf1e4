"""Billing meters: one event name, one meter; nothing but its display name and status ever changes."""

from __future__ import annotations

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.call import Answer, Call, Route, stored
from devstack.stripe_emulator.lists import PAGING, page
from devstack.stripe_emulator.state import Object

_ACCEPTED = frozenset({"customer_mapping", "event_time_window", "value_settings"})
_REQUIRED = ("display_name", "event_name", "default_aggregation")


def create(call: Call) -> Answer:
    """Make a meter."""
    parameters = call.parameters
    event_name = parameters.needed_text("event_name", at_most=100)
    if call.state.meter_named(event_name) is not None:
        raise errors.StripeError(f"A meter with the event name {event_name} already exists.", parameter="event_name")
    aggregation = parameters.child("default_aggregation", accepts=(), requires=("formula",))
    mapping = parameters.child("customer_mapping", accepts=(), requires=("event_payload_key", "type"))
    value = parameters.child("value_settings", accepts=(), requires=("event_payload_key",))
    if mapping is not None:
        mapping.choice("type", ("by_id",))
    made: Object = {
        "id": call.new_id("mtr_test"),
        "object": "billing.meter",
        "created": call.now,
        "customer_mapping": {
            "event_payload_key": "stripe_customer_id" if mapping is None else mapping.needed_text("event_payload_key"),
            "type": "by_id",
        },
        "default_aggregation": {"formula": aggregation and aggregation.choice("formula", ("count", "last", "sum"))},
        "display_name": parameters.needed_text("display_name", at_most=250),
        "event_name": event_name,
        "event_time_window": parameters.choice("event_time_window", ("day", "hour")),
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": call.now,
        "value_settings": {"event_payload_key": "value" if value is None else value.needed_text("event_payload_key")},
    }
    return Answer(made, stored("meter", made))


def retrieve(call: Call) -> Answer:
    """Show a meter."""
    return Answer(call.needed("meter"))


def listed(call: Call) -> Answer:
    """List meters, newest first."""
    status = call.parameters.choice("status", ("active", "inactive"))
    chosen = [meter for meter in call.state.newest_first("meter") if status in (None, meter["status"])]
    return Answer(page(chosen, call.parameters, "/v1/billing/meters", "meter"))


def update(call: Call) -> Answer:
    """Rename a meter."""
    changed = {**call.needed("meter"), "updated": call.now}
    display_name = call.parameters.text("display_name", at_most=250)
    if display_name is not None:
        changed["display_name"] = display_name
    return Answer(changed, stored("meter", changed))


def deactivate(call: Call) -> Answer:
    """Take a meter out of use: it accepts no events and no price can name it."""
    return _switched(call, "active", "inactive", call.now)


def reactivate(call: Call) -> Answer:
    """Put a meter back into use."""
    return _switched(call, "inactive", "active", None)


def _switched(call: Call, before: str, after: str, deactivated_at: int | None) -> Answer:
    found = call.needed("meter")
    if found["status"] != before:
        raise errors.StripeError(f"The meter {found['id']} is already {after}.")
    changed = {**found, "status": after, "status_transitions": {"deactivated_at": deactivated_at}, "updated": call.now}
    return Answer(changed, stored("meter", changed))


ROUTES = (
    Route("POST", "/v1/billing/meters", create, _ACCEPTED, _REQUIRED),
    Route("GET", "/v1/billing/meters", listed, PAGING | {"status"}),
    Route("GET", "/v1/billing/meters/{id}", retrieve),
    Route("POST", "/v1/billing/meters/{id}", update, frozenset({"display_name"})),
    Route("POST", "/v1/billing/meters/{id}/deactivate", deactivate),
    Route("POST", "/v1/billing/meters/{id}/reactivate", reactivate),
)
