"""Webhook endpoints: where events are told, and with which secrets they are signed."""

from __future__ import annotations

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.call import API_VERSION, Answer, Call, Route, stored
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.lists import PAGING, page
from devstack.stripe_emulator.signing import new_secret
from devstack.stripe_emulator.state import Object

_MOST_ENDPOINTS = 16
_PRIVATE = frozenset({"payload", "secrets"})


def create(call: Call) -> Answer:
    """Make an endpoint; its secret is shown this once."""
    parameters = call.parameters
    if len([endpoint for endpoint in call.state.newest_first("webhook_endpoint") if endpoint["status"] != "deleted"]) >= _MOST_ENDPOINTS:
        raise errors.StripeError(f"You have reached the maximum of {_MOST_ENDPOINTS} test webhook endpoints.")
    # The set-up door alone may bring its own secret, or ask for thin events.
    secret = new_secret()
    made: Object = {
        "id": call.new_id("we"),
        "object": "webhook_endpoint",
        "api_version": parameters.text("api_version"),
        "application": None,
        "created": call.now,
        "description": parameters.text("description"),
        "enabled_events": _enabled(call),
        "livemode": False,
        "metadata": parameters.mapping("metadata"),
        "status": "enabled",
        "url": _url(call),
        "payload": "snapshot",
        "secrets": [{"secret": secret, "until_ms": None}],
    }
    if made["api_version"] not in (None, API_VERSION):
        raise errors.StripeError(f"The emulator speaks {API_VERSION} only.", parameter="api_version")
    return Answer({**shown(made), "secret": secret}, stored("webhook_endpoint", made))


def _enabled(call: Call) -> list[str]:
    names = call.parameters.texts("enabled_events")
    if not names:
        raise errors.missing_parameter("enabled_events")
    return names


def _url(call: Call) -> str:
    url = call.parameters.needed_text("url")
    if not url.startswith(("http://", "https://")):
        raise errors.StripeError("Invalid URL: an explicit scheme (such as https) must be provided.", code="url_invalid", parameter="url")
    return url


def shown(endpoint: Object) -> Object:
    """Give an endpoint without its secrets."""
    return {name: value for name, value in endpoint.items() if name not in _PRIVATE}


def chosen(record: Record, own: dict[str, str]) -> Record:
    """Give the record of a new endpoint with the secret and the payload that a set-up door chose."""
    made = dict(record["object"])
    if own.get("payload") in ("snapshot", "thin"):
        made["payload"] = own["payload"]
    if "secret" in own:
        made["secrets"] = [{"secret": own["secret"], "until_ms": None}]
    return {**record, "object": made}


def retrieve(call: Call) -> Answer:
    """Show an endpoint."""
    return Answer(shown(_living(call)))


def listed(call: Call) -> Answer:
    """List endpoints, newest first."""
    living = [shown(endpoint) for endpoint in call.state.newest_first("webhook_endpoint") if endpoint["status"] != "deleted"]
    return Answer(page(living, call.parameters, "/v1/webhook_endpoints", "webhook_endpoint"))


def update(call: Call) -> Answer:
    """Change an endpoint, or switch it off: what waits for it is then told no more."""
    parameters, changed = call.parameters, dict(_living(call))
    if "url" in parameters:
        changed["url"] = _url(call)
    if "enabled_events" in parameters:
        changed["enabled_events"] = _enabled(call)
    if "description" in parameters:
        changed["description"] = parameters.text("description")
    disabled = parameters.boolean("disabled")
    if disabled is not None:
        changed["status"] = "disabled" if disabled else "enabled"
    changed["metadata"] = {**changed["metadata"], **parameters.mapping("metadata")}
    return Answer(shown(changed), stored("webhook_endpoint", changed))


def delete(call: Call) -> Answer:
    """Delete an endpoint."""
    found = _living(call)
    gone = {"id": found["id"], "object": "webhook_endpoint", "deleted": True}
    return Answer(gone, stored("webhook_endpoint", {**found, "status": "deleted"}))


def _living(call: Call) -> Object:
    found = call.needed("webhook_endpoint")
    if found["status"] == "deleted":
        raise errors.no_such("webhook endpoint", call.argument, "id", status=404)
    return found


_CHANGEABLE = frozenset({"description", "disabled", "enabled_events", "metadata", "url"})
ROUTES = (
    Route("POST", "/v1/webhook_endpoints", create, frozenset({"api_version", "description", "metadata"}), ("enabled_events", "url")),
    Route("GET", "/v1/webhook_endpoints", listed, PAGING),
    Route("GET", "/v1/webhook_endpoints/{id}", retrieve),
    Route("POST", "/v1/webhook_endpoints/{id}", update, _CHANGEABLE),
    Route("DELETE", "/v1/webhook_endpoints/{id}", delete),
)
