"""The doors as OpenAPI 3.1."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from services.ingest.core.event_body import OPTIONAL, REQUIRED
from services.ingest.core.request_body import BATCH, JSON, MOST_EVENTS, STRUCTURED
from trueup.contracts.problems import MEDIA_TYPE
from trueup.ledger.store import customers

_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
_TELLS = {
    400: "The body cannot be read",
    401: "No key, or one that is not known",
    403: "The key does not allow this",
    404: "Not known",
    408: "The body came too slowly",
    409: "It contradicts what is recorded",
    413: "The body is too large",
    415: "This content type is not taken",
    422: "A JSON pointer for each fault",
    429: "Too many requests of this key at once",
    503: "Not acknowledged: send it again",
}


def _problems(*statuses: int) -> dict[str, Any]:
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    made: dict[str, Any] = {}
    for status in statuses:
        made[str(status)] = {"description": _TELLS[status], "content": problem}
        if status in (429, 503):
            made[str(status)]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
    return made


def _answer(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _schemas() -> dict[str, Any]:
    text = {"type": ["string", "null"]}
    event = {
        "type": "object",
        "description": "One metered fact. Sent again with the same id and source it is counted once.",
        "additionalProperties": False,
        "required": list(REQUIRED),
        "properties": {
            **dict.fromkeys(("id", "source", "customer", "meter"), _NAME),
            "value": {
                "description": "In the meter's unit: a decimal string or an integer, never a float.",
                "oneOf": [{"type": "string", "pattern": "^-?[0-9]{1,40}(\\.[0-9]{1,40})?$"}, {"type": "integer"}],
            },
            "time": {"type": "string", "format": "date-time", "description": "When the usage happened, with its offset."},
            **{name: text for name in OPTIONAL if name != "dimensions"},
            "dimensions": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        },
    }
    envelope = {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": _NAME,
            "source": _NAME,
            "type": _NAME,
            "data": {"type": "object", "description": "The event; id, source, time and customer may stand in the envelope instead."},
        },
    }
    fault = {"type": "object", "properties": {name: {"type": "string"} for name in ("pointer", "code", "detail")}}
    problem = {
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            **{name: {"type": "string"} for name in ("type", "title", "detail", "instance")},
            "status": {"type": "integer"},
            "errors": {"type": "array", "items": fault},
            "error_count": {"type": "integer"},
        },
    }
    return {"Event": event, "CloudEvent": envelope, "Problem": problem}


def _events() -> dict[str, Any]:
    event, envelope = {"$ref": "#/components/schemas/Event"}, {"$ref": "#/components/schemas/CloudEvent"}
    content = {
        JSON: {"schema": {"oneOf": [event, {"type": "array", "maxItems": MOST_EVENTS, "items": event}]}},
        STRUCTURED: {"schema": envelope},
        BATCH: {"schema": {"type": "array", "maxItems": MOST_EVENTS, "items": envelope}},
    }
    return {
        "operationId": "publish",
        "summary": "Take events, all of a request or none",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "202": _answer("The broker has every one of them", {"accepted": {"type": "integer"}}),
            **_problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
    }


def _event() -> dict[str, Any]:
    step = {"type": "object", "properties": {"step": {"type": "string"}, "at": {"type": ["string", "null"]}, "detail": {"type": "string"}}}
    told = {
        "source": {"type": "string"},
        "id": {"type": "string"},
        "outcome": {"enum": ["on_time", "late", "refused"]},
        "duplicates": {
            "type": "integer",
            "description": "Deliveries beyond the first that reached the ledger; what the dedupe room remembered is dropped before.",
        },
        "conflicts": {"type": "integer"},
        "steps": {"type": "array", "items": step},
    }
    return {
        "operationId": "whatBecameOf",
        "summary": "What became of an event",
        "parameters": [_parameter("source"), _parameter("id")],
        "responses": {"200": _answer("What the ledger knows", told), **_problems(400, 401, 403, 404, 429, 503)},
    }


def _customer() -> dict[str, Any]:
    properties = {"stripe_customer": {**_NAME, "pattern": customers.STRIPE_ID}, "reason": {"type": "string", "maxLength": 255}}
    wish = {"type": "object", "additionalProperties": False, "required": ["stripe_customer"], "properties": properties}
    told = {"customer": {"type": "string"}, "stripe_customer": {"type": "string"}, "new": {"type": "boolean"}}
    return {
        "operationId": "mapCustomer",
        "summary": "Say which Stripe customer a customer is",
        "parameters": [_parameter("customer")],
        "requestBody": {"required": True, "content": {JSON: {"schema": wish}}},
        "responses": {
            "200": _answer("The mapping is in force", told),
            **_problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        },
    }


def _flush() -> dict[str, Any]:
    told = {"customer": {"type": "string"}, "flush_id": {"type": "integer"}, "done": {"const": True}}
    return {
        "operationId": "flushCustomer",
        "summary": "Everything of a customer sent to Stripe and confirmed, before a swap or a cancel",
        "parameters": [_parameter("customer")],
        "responses": {"200": _answer("Stripe has it", told), **_problems(400, 401, 403, 404, 409, 429, 503)},
    }


def _webhook() -> dict[str, Any]:
    header = {"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}}
    return {
        "operationId": "takeWebhook",
        "summary": "Keep what Stripe tells",
        "security": [],
        "parameters": [header],
        "requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object"}}}},
        "responses": {"200": _answer("The broker has it", {"received": {"type": "boolean"}}), **_problems(400, 408, 413, 415, 503)},
    }


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _NAME}


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trueup ingest", "version": version("trueup"), "description": "The doors from HTTP into the pipeline."},
        "security": [{"key": []}],
        "paths": {
            "/v1/events": {"post": _events()},
            "/v1/events/{source}/{id}": {"get": _event()},
            "/v1/customers/{customer}": {"put": _customer()},
            "/v1/customers/{customer}/flush": {"post": _flush()},
            "/webhooks/stripe": {"post": _webhook()},
        },
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}, "schemas": _schemas()},
    }
