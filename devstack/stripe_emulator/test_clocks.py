"""Stripe's test clocks: customers that live by a date of their own, which stands still until somebody advances it."""

from __future__ import annotations

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.call import Answer, Call, Route, due, stored
from devstack.stripe_emulator.events import occurred
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.lists import PAGING, page
from devstack.stripe_emulator.state import Object, State

_KEPT_SECONDS = 30 * 86_400


def create(call: Call) -> Answer:
    """Make a clock that stands at a date."""
    made: Object = {
        "id": call.new_id("clock"),
        "object": "test_helpers.test_clock",
        "created": call.now,
        "deletes_after": call.now + _KEPT_SECONDS,
        "frozen_time": call.parameters.needed_integer("frozen_time"),
        "livemode": False,
        "name": call.parameters.text("name", at_most=300),
        "status": "ready",
        "status_details": {},
    }
    return Answer(made, [*stored("test_clock", made), *occurred(call.state, "test_helpers.test_clock.created", made, call.now_ms)])


def advance(call: Call) -> Answer:
    """Begin to move a clock on; it is ready once everything until then has been done."""
    found, target = call.needed("test_clock"), call.parameters.needed_integer("frozen_time")
    if found["status"] != "ready":
        raise errors.StripeError(f"The test clock {found['id']} is advancing; wait until it is ready.", status=429, code="lock_timeout")
    if target <= found["frozen_time"]:
        raise errors.StripeError("frozen_time must be after the current frozen_time of the test clock.", parameter="frozen_time")
    changed = {**found, "status": "advancing", "status_details": {"advancing": {"target_frozen_time": target}}}
    happened = occurred(call.state, "test_helpers.test_clock.advancing", changed, call.now_ms)
    return Answer(changed, [*stored("test_clock", changed), *happened])


def arrived(state: State, clock: Object, street_ms: int) -> list[Record]:
    """Let an advancing clock stand at its target."""
    ready = {**clock, "frozen_time": clock["status_details"]["advancing"]["target_frozen_time"], "status": "ready", "status_details": {}}
    return [*stored("test_clock", ready), *occurred(state, "test_helpers.test_clock.ready", ready, street_ms)]


def retrieve(call: Call) -> Answer:
    """Show a clock."""
    return Answer(call.needed("test_clock"))


def listed(call: Call) -> Answer:
    """List clocks, newest first."""
    living = [clock for clock in call.state.newest_first("test_clock") if not clock.get("deleted")]
    return Answer(page(living, call.parameters, "/v1/test_helpers/test_clocks", "test_clock"))


def delete(call: Call) -> Answer:
    """Delete a clock, its customers and their subscriptions."""
    found, state = call.needed("test_clock"), call.state
    gone = {"id": found["id"], "object": "test_helpers.test_clock", "deleted": True}
    records = stored("test_clock", {**gone, "status": "ready", "frozen_time": found.get("frozen_time", 0)})
    for customer in state.newest_first("customer"):
        if customer.get("test_clock") == found["id"]:
            records += stored("customer", {"id": customer["id"], "object": "customer", "deleted": True})
    for subscription in state.newest_first("subscription"):
        if subscription["test_clock"] == found["id"] and subscription["status"] != "canceled":
            records += stored("subscription", {**subscription, "status": "canceled", "ended_at": found["frozen_time"]})
            records.append(due(found["id"], "period_end", subscription["id"], None))
    return Answer(gone, records)


_PATH = "/v1/test_helpers/test_clocks"
ROUTES = (
    Route("POST", _PATH, create, frozenset({"name"}), ("frozen_time",)),
    Route("GET", _PATH, listed, PAGING),
    Route("GET", f"{_PATH}/{{id}}", retrieve),
    Route("POST", f"{_PATH}/{{id}}/advance", advance, frozenset(), ("frozen_time",)),
    Route("DELETE", f"{_PATH}/{{id}}", delete),
)
