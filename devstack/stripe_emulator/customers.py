"""Customers, and the account they belong to."""

from __future__ import annotations

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.call import Answer, Call, Route, stored
from devstack.stripe_emulator.lists import PAGING, page
from devstack.stripe_emulator.state import Object

_SETTABLE = frozenset({"description", "email", "metadata", "name", "phone"})


def account(call: Call) -> Answer:
    """Show the account that the key belongs to. It has no livemode, like the real one: balance and every other object have."""
    return Answer(
        {
            "id": call.state.switches.account_id,
            "object": "account",
            "business_type": None,
            "capabilities": {},
            "charges_enabled": True,
            "country": "US",
            "created": 1_700_000_000,
            "default_currency": "usd",
            "details_submitted": True,
            "email": None,
            "metadata": {},
            "payouts_enabled": True,
            "type": "standard",
        }
    )


def balance(call: Call) -> Answer:
    """Show an empty balance; clients ask for it to learn the mode."""
    del call
    return Answer({"object": "balance", "available": [], "livemode": False, "pending": []})


def create(call: Call) -> Answer:
    """Make a customer."""
    made: Object = {
        "id": call.new_id("cus"),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": call.now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": None,
        "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None},
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    made.update(_settings(call))
    clock = made["test_clock"] = call.parameters.text("test_clock")
    if clock is not None:
        found = call.state.find("test_clock", clock)
        if found is None or found.get("deleted"):
            raise errors.no_such("test clock", clock, "test_clock")
        made["created"] = found["frozen_time"]
    return Answer(made, stored("customer", made))


def update(call: Call) -> Answer:
    """Change a customer's description."""
    found = call.needed("customer")
    if found.get("deleted"):
        raise errors.no_such("customer", call.argument, "id", status=404)
    settings = _settings(call)
    changed = {**found, **settings, "metadata": {**found["metadata"], **settings.get("metadata", {})}}
    return Answer(changed, stored("customer", changed))


def retrieve(call: Call) -> Answer:
    """Show a customer; of a deleted one only that it is gone."""
    return Answer(call.needed("customer"))


def delete(call: Call) -> Answer:
    """Delete a customer: usage reported for it afterwards is never counted."""
    found = call.needed("customer")
    gone: Object = {"id": found["id"], "object": "customer", "deleted": True}
    return Answer(gone, stored("customer", gone))


def listed(call: Call) -> Answer:
    """List customers, newest first."""
    email = call.parameters.text("email")
    living = [found for found in call.state.newest_first("customer") if not found.get("deleted")]
    chosen = [found for found in living if email is None or found["email"] == email]
    return Answer(page(chosen, call.parameters, "/v1/customers", "customer"))


def _settings(call: Call) -> Object:
    """Read what a caller may set."""
    settings: Object = {name: call.parameters.text(name) for name in ("description", "email", "name", "phone") if name in call.parameters}
    if "metadata" in call.parameters:
        settings["metadata"] = call.parameters.mapping("metadata")
    return settings


ROUTES = (
    Route("GET", "/v1/account", account),
    Route("GET", "/v1/balance", balance),
    Route("POST", "/v1/customers", create, _SETTABLE | {"test_clock"}),
    Route("GET", "/v1/customers", listed, PAGING | {"email"}),
    Route("GET", "/v1/customers/{id}", retrieve),
    Route("POST", "/v1/customers/{id}", update, _SETTABLE),
    Route("DELETE", "/v1/customers/{id}", delete),
)
