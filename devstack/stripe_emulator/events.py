"""Events: what happened, told to webhook endpoints at once and to whoever asks for thirty days."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase

from devstack.stripe_emulator import errors, thin_events
from devstack.stripe_emulator.call import API_VERSION, Answer, Call, Route, object_id
from devstack.stripe_emulator.faults import WEBHOOK_EVENT, WEBHOOK_PREFIX
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.lists import PAGING, between, page
from devstack.stripe_emulator.state import Object, State

_READABLE_SECONDS = 30 * 86_400
_MOST_TYPES = 20


def occurred(
    state: State, kind: str, shown: Object, at_ms: int, *, deliver_ms: int | None = None, previous: Object | None = None
) -> list[Record]:
    """Make the record of an event and of its deliveries, with whatever trouble was ordered for it.

    ``at_ms`` is when it happened; an event of a test clock is delivered by the street's date ``deliver_ms``.
    """
    data: Object = {"object": shown} if previous is None else {"object": shown, "previous_attributes": previous}
    event: Object = {
        "id": object_id("evt"),
        "object": "event",
        "api_version": API_VERSION,
        "created": at_ms // 1000,
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }
    due_ms = at_ms if deliver_ms is None else deliver_ms
    held = state.faults.hold(WEBHOOK_EVENT, WEBHOOK_PREFIX + kind, json.dumps(event), str(shown.get("id")))
    trouble = None if held is None else held[1]
    if trouble is not None and trouble.kind == "delay":
        due_ms += int(trouble.seconds * 1000)
    listeners = endpoints_for(state, kind)
    records: list[Record] = [{"record": "event", "event": event, "deliveries": dict.fromkeys(listeners, due_ms)}]
    if trouble is not None and trouble.kind == "twin":
        twin = {**event, "id": object_id("evt")}
        records.append({"record": "event", "event": twin, "deliveries": dict.fromkeys(listeners, due_ms)})
    if held is not None:
        records.append({"record": "fault_used", "number": held[0]})
    return records


def endpoints_for(state: State, kind: str) -> list[str]:
    """Name the enabled endpoints that listen to a type of snapshot event."""
    return [
        endpoint["id"]
        for endpoint in state.objects.get("webhook_endpoint", {}).values()
        if endpoint["status"] == "enabled" and endpoint["payload"] == "snapshot" and {"*", kind} & set(endpoint["enabled_events"])
    ]


def shown(state: State, event: Object) -> Object:
    """Give an event as it stands now."""
    return {**event, "pending_webhooks": state.deliveries.pending(event["id"])}


def delivered_body(state: State, event: Object) -> Object:
    """Give what a webhook carries: of a snapshot event all of it, of a thin one only what it is about."""
    return shown(state, event) if event["object"] == "event" else thin_events.notification(event)


def retrieve(call: Call) -> Answer:
    """Show an event of the last thirty days."""
    event = call.needed("event")
    if not _readable(call, event):
        raise errors.no_such("event", call.argument, "id", status=404)
    return Answer(shown(call.state, event))


def listed(call: Call) -> Answer:
    """List the events of the last thirty days, newest first; a type may end in ``*``."""
    parameters = call.parameters
    kind, kinds = parameters.text("type"), parameters.texts("types")
    if kind is not None and kinds:
        raise errors.StripeError("You may only specify one of these parameters: type, types.", parameter="types")
    if len(kinds) > _MOST_TYPES:
        raise errors.StripeError(f"types holds at most {_MOST_TYPES} names.", parameter="types")
    wished = kinds if kind is None else [kind]
    created, delivered = between(parameters, "created"), parameters.boolean("delivery_success")
    chosen = [
        event
        for event in _snapshots(call)
        if _readable(call, event)
        and created(event["created"])
        and (not wished or any(fnmatchcase(event["type"], name) for name in wished))
        and (delivered is None or delivered == (call.state.deliveries.pending(event["id"]) == 0))
    ]
    answer = page(chosen, parameters, "/v1/events", "event")
    return Answer({**answer, "data": [shown(call.state, event) for event in answer["data"]]})


def _snapshots(call: Call) -> list[Object]:
    found = [event for event in call.state.newest_first("event") if event["object"] == "event"]
    return sorted(found, key=lambda event: -int(event["created"]))


def _readable(call: Call, event: Object) -> bool:
    return bool(event["object"] == "event" and event["created"] > call.now - _READABLE_SECONDS)


ROUTES = (
    Route("GET", "/v1/events", listed, PAGING | {"created", "delivery_success", "type", "types"}),
    Route("GET", "/v1/events/{id}", retrieve),
)
