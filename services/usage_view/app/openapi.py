"""The doors as OpenAPI 3.1."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from services.usage_view.app.events import MOST_EVENTS, USUAL_LIMIT
from services.usage_view.core.links import LONGEST_SECONDS, SHORTEST_SECONDS, USUAL_SECONDS
from trueup.contracts.problems import MEDIA_TYPE

JSON = "application/json"
_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
_TEXT = {"type": "string"}
_DECIMAL = {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$"}
_INSTANT = {"type": "string", "format": "date-time"}
_TELLS = {
    400: "The request cannot be read",
    401: "No key, or one that is not known",
    403: "The key does not allow this",
    404: "No such customer, or no such period",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "This content type is not taken",
    422: "What was asked for cannot be read",
    429: "Too many requests of this key at once",
    503: "The ledger does not answer: ask again",
}


def _problems(*statuses: int) -> dict[str, Any]:
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    made: dict[str, Any] = {str(status): {"description": _TELLS[status], "content": problem} for status in statuses}
    for status in {429, 503} & set(statuses):
        made[str(status)]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
    return made


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": [schema, {"type": "null"}]}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _usage_schema(period: dict[str, Any]) -> dict[str, Any]:
    meter = _object(
        meter=_TEXT,
        unit=_TEXT,
        quantity={**_DECIMAL, "description": "What this period bills, in the meter's unit."},
        in_flight={**_DECIMAL, "description": "Of it, what Stripe has not confirmed yet."},
        under_review={**_DECIMAL, "description": "Beside it: on no bill unless a person decides so."},
        corrections={**_DECIMAL, "description": "Of it, what negative usage took back: zero or less."},
    )
    part = _object(value={"type": ["string", "null"]}, quantity=_DECIMAL)
    meter["properties"]["by"] = {"type": "array", "items": part, "description": "Only where a dimension was asked for."}
    line = _object(
        meter=_TEXT,
        price_id=_TEXT,
        currency=_TEXT,
        tier={"type": ["integer", "null"], "description": "From 1, where the price has tiers."},
        quantity=_DECIMAL,
        unit_amount_decimal={**_or_null(_DECIMAL), "description": "In minor units of the currency."},
        amount_minor={
            "type": ["integer", "null"],
            "description": "In minor units; null where the price is not understood, or was changed and the invoice is not final.",
        },
        flat_amount_decimal=_DECIMAL,
        package_units={"type": ["integer", "null"], "description": "The price is for so many units at once."},
        period=period,
    )
    usage = _object(
        customer=_TEXT,
        period=period,
        data_through={**_or_null(_INSTANT), "description": "Everything that arrived before this instant is counted."},
        currency={
            "type": ["string", "null"],
            "description": "Of every line; null where nothing is billed or the lines have several.",
        },
        meters={"type": "array", "items": meter},
        lines={"type": "array", "items": line},
        total_minor={
            "type": ["integer", "null"],
            "description": "The lines' sum, before discounts, taxes and credits; null where an amount is not known or currencies differ.",
        },
        invoices={"type": "array", "items": _TEXT, "description": "Final invoices that these lines are on."},
        invoices_disagreeing={"type": "array", "items": _TEXT, "description": "Of them, those that bill something else than the ledger."},
    )
    usage["properties"]["by"] = _TEXT
    return usage


def _events_schema(period: dict[str, Any]) -> dict[str, Any]:
    text_or_null = {"type": ["string", "null"]}
    event = _object(
        source=_TEXT,
        id=_TEXT,
        meter=_TEXT,
        time=_INSTANT,
        arrived=_INSTANT,
        quantity=_DECIMAL,
        late={"type": "boolean"},
        under_review={"type": "boolean"},
        reason=text_or_null,
        corrects=text_or_null,
        dimensions={"type": "object", "additionalProperties": _TEXT},
    )
    return _object(customer=_TEXT, period=period, events={"type": "array", "items": event}, next_cursor=text_or_null)


def _schemas() -> dict[str, Any]:
    period = _object(start=_INSTANT, end={**_INSTANT, "description": "Exclusive."})
    problem = {
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "errors": {"type": "array"}},
    }
    return {"Usage": _usage_schema(period), "Events": _events_schema(period), "Problem": problem}


def _query(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema or _TEXT}


def _customer() -> dict[str, Any]:
    return {"name": "customer", "in": "path", "required": True, "schema": _NAME, "example": "acme"}


def _period() -> dict[str, Any]:
    wish = {
        "anyOf": [
            {"enum": ["current", "previous"]},
            {"type": "string", "format": "date", "pattern": "^(19[7-9]|20)[0-9]"},
            {"type": "string", "format": "date-time", "pattern": "^(19[7-9]|20)[0-9]"},
        ]
    }
    return _query("period", "current, previous, or when the period starts: an instant, or a UTC date.", {**wish, "default": "current"})


def _told(name: str) -> dict[str, Any]:
    return {"description": "As the ledger has it", "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


def _usage() -> dict[str, Any]:
    by = _query("by", "A dimension by which each meter is divided as well.", {"type": "string", "minLength": 1, "maxLength": 255})
    return {
        "operationId": "usageOfCustomer",
        "summary": "What a customer used in a period, and what it costs",
        "parameters": [_customer(), _period(), by],
        "responses": {"200": _told("Usage"), **_problems(400, 401, 403, 404, 422, 429, 503)},
    }


def _events() -> dict[str, Any]:
    limit = {"type": "integer", "minimum": 1, "maximum": MOST_EVENTS, "default": USUAL_LIMIT}
    more = [
        _query("meter", "Only events of this meter.", {"type": "string", "maxLength": 255}),
        _query("limit", "At most so many; a page may be shorter and still not be the last.", limit),
        _query("cursor", "next_cursor of the page before, with the same customer, period and meter.", {"type": "string", "maxLength": 64}),
    ]
    return {
        "operationId": "eventsOfCustomer",
        "summary": "The events behind a line, in the order in which the ledger got them",
        "parameters": [_customer(), _period(), *more],
        "responses": {"200": _told("Events"), **_problems(400, 401, 403, 404, 422, 429, 503)},
    }


def _link() -> dict[str, Any]:
    seconds = {"type": "integer", "minimum": SHORTEST_SECONDS, "maximum": LONGEST_SECONDS, "default": USUAL_SECONDS}
    wish = {
        "type": "object",
        "additionalProperties": False,
        "required": ["customer"],
        "properties": {"customer": _NAME, "expires_in_seconds": seconds},
    }
    told = _object(customer=_TEXT, url=_TEXT, expires_at=_INSTANT)
    return {
        "operationId": "linkForCustomer",
        "summary": "A link with which a customer sees its own page for a while",
        "requestBody": {"required": True, "content": {JSON: {"schema": wish}}},
        "responses": {
            "201": {"description": "The link; whoever has it sees the page", "content": {JSON: {"schema": told}}},
            **_problems(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
        },
    }


def _page() -> dict[str, Any]:
    html = {"text/html": {"schema": _TEXT}}
    signed = [_query("until", "When the link ends, in seconds since 1970."), _query("signature", "By which we know our own links.")]
    tells = {
        "200": "The page",
        "403": "The link is forged or has expired",
        "404": "No such period",
        "422": "No period at all",
        "503": "The ledger does not answer",
    }
    answers: dict[str, Any] = {status: {"description": description, "content": html} for status, description in tells.items()}
    # What comes before the page speaks as everywhere: an address that cannot be read, too many requests.
    for status in ("404", "503"):
        answers[status] = {
            "description": tells[status],
            "content": {**html, MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return {
        "operationId": "pageOfCustomer",
        "summary": "The page that a customer sees",
        "security": [],
        "parameters": [_customer(), *signed, _period()],
        "responses": answers,
    }


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trueup usage view", "version": version("trueup"), "description": "A customer's own numbers."},
        "security": [{"key": []}],
        "paths": {
            "/v1/customers/{customer}/usage": {"get": _usage()},
            "/v1/customers/{customer}/events": {"get": _events()},
            "/v1/customer-links": {"post": _link()},
            "/customers/{customer}": {"get": _page()},
        },
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}, "schemas": _schemas()},
    }
