"""Meter events: what is checked at once, what is only rejected later, and which identifiers are still known."""

from __future__ import annotations

import re
import uuid
from typing import Any

from devstack.stripe_emulator import errors, thin_events
from devstack.stripe_emulator.call import Answer, Call, Route
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.state import Object, State

_PLAIN_DECIMAL = re.compile(r"-?(\d+)(?:\.(\d+))?", re.ASCII)
_MOST_DIGITS = 15
_MOST_CHARACTERS = 100
_PAST_SECONDS = 35 * 86_400
_FUTURE_SECONDS = 300


def create(call: Call) -> Answer:
    """Receive one meter event. A good answer means received, not counted."""
    parameters, state = call.parameters, call.state
    event_name = parameters.needed_text("event_name", at_most=100)
    payload = parameters.mapping("payload")
    identifier = parameters.text("identifier", at_most=_MOST_CHARACTERS) or str(uuid.uuid4())
    timestamp = parameters.integer("timestamp")
    meter = state.meter_named(event_name)
    if meter is None or meter["status"] != "active":
        raise errors.StripeError(f'No active meter found for event name "{event_name}".')
    customer, value = _customer_of(meter, payload), _value_of(meter, payload)
    now = state.now_ms_for(customer, call.now_ms) // 1000
    timestamp = now if timestamp is None else timestamp
    _check_time(timestamp, now)
    if state.identifiers.knows(state.identifier_scope(meter), identifier, call.now_ms, state.switches.identifier_window_seconds * 1000):
        raise errors.StripeError(f"An event already exists with identifier {identifier}.", headers={"Stripe-Should-Retry": "false"})
    exists = _exists(state, customer)
    if not exists and state.switches.customer_check == "synchronous":
        raise errors.no_such("customer", customer, f"payload[{meter['customer_mapping']['event_payload_key']}]")
    counted = exists and not call.rejects
    record: Record = {
        "record": "meter_event",
        "meter": meter["id"],
        "customer": customer,
        "identifier": identifier,
        "value": value,
        "timestamp": timestamp,
        "received_ms": call.now_ms,
        "counted": counted,
    }
    if not counted:
        code = "meter_event_invalid_value" if exists else "meter_event_customer_not_found"
        message = f"Customer {customer} was not found." if not exists else f"Invalid value {value}."
        record["refusal"] = [code, message, call.idempotency_key or identifier, thin_events.window_of(call.now_ms)]
    body = {
        "object": "billing.meter_event",
        "created": call.now,
        "event_name": event_name,
        "identifier": identifier,
        "livemode": False,
        "payload": payload,
        "timestamp": timestamp,
    }
    return Answer(body, [record] if counted else [record, thin_events.report_due(meter["id"], call.now_ms)])


def lane_of(state: State, tree: dict[str, Any]) -> tuple[str, str] | None:
    """Name the meter and customer that a request is about, before anything is checked; None where it names none."""
    event_name, payload = tree.get("event_name"), tree.get("payload")
    meter = state.meter_named(event_name) if isinstance(event_name, str) else None
    if meter is None or not isinstance(payload, dict):
        return None
    customer = payload.get(meter["customer_mapping"]["event_payload_key"])
    return (meter["id"], customer) if isinstance(customer, str) else None


def _exists(state: State, customer: str) -> bool:
    found = state.find("customer", customer)
    return found is not None and not found.get("deleted")


def _customer_of(meter: Object, payload: dict[str, str]) -> str:
    key = meter["customer_mapping"]["event_payload_key"]
    customer = payload.get(key)
    if not customer:
        raise errors.StripeError(f"Customer mapping key {key} not found in payload.", parameter="payload")
    return customer


def _value_of(meter: Object, payload: dict[str, str]) -> str:
    key = meter["value_settings"]["event_payload_key"]
    # A count meter ignores the value, and every event weighs one.
    if meter["default_aggregation"]["formula"] == "count":
        return "1"
    text = payload.get(key)
    if text is None:
        raise errors.StripeError(f"Value key {key} not found in payload.", parameter="payload")
    match = _PLAIN_DECIMAL.fullmatch(text)
    if match is None or len(text) > _MOST_CHARACTERS:
        raise errors.StripeError(
            f"The value in the event payload must be a number. Received {text[:_MOST_CHARACTERS]}.", parameter="payload"
        )
    digits = (match[1] + (match[2] or "").rstrip("0")).lstrip("0")
    if len(digits) > _MOST_DIGITS:
        message = f"The value in the event payload can have at most {_MOST_DIGITS} digits. Received {text}."
        raise errors.StripeError(message, parameter="payload")
    return text


def _check_time(timestamp: int, now: int) -> None:
    earliest, latest = now - _PAST_SECONDS, now + _FUTURE_SECONDS
    if timestamp < earliest:
        message = f"The event timestamp cannot be more than 35 days in past. Expected a timestamp greater than or equal to {earliest}."
        raise errors.StripeError(message, parameter="timestamp")
    if timestamp > latest:
        message = f"The event timestamp cannot be more than 5 minutes in the future. Expected a timestamp less than or equal to {latest}."
        raise errors.StripeError(message, parameter="timestamp")


ROUTES = (Route("POST", "/v1/billing/meter_events", create, frozenset({"identifier", "timestamp"}), ("event_name", "payload")),)
