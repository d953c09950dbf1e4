"""Thin events of Stripe's v2 API: reports on meter events that were received and then refused, with samples only."""

from __future__ import annotations

import datetime
from collections import Counter

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.call import Answer, Call, Route, due, object_id
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.state import Object, State

ERROR_REPORT = "v1.billing.meter.error_report_triggered"
_WINDOW_MS = 10_000
_AFTERWARDS_MS = 2_000
_MOST_SAMPLES = 5
_READABLE_SECONDS = 30 * 86_400
_MOST_ON_A_PAGE = 100


def report_due(meter: str, received_ms: int) -> Record:
    """Make the record that lets a refused meter event be reported with the others of its ten seconds."""
    begins = received_ms - received_ms % _WINDOW_MS
    return due("", "error_report", f"{meter} {begins}", begins + _WINDOW_MS + _AFTERWARDS_MS)


def window_of(received_ms: int) -> int:
    """Give the beginning of the window that an instant lies in."""
    return received_ms - received_ms % _WINDOW_MS


def report(state: State, identifier: str, at_ms: int) -> list[Record]:
    """Report what was refused on one meter within ten seconds; the count is true, the samples are few."""
    meter, begins = identifier.split(" ")
    refused = state.refused[meter, int(begins)]
    counts = Counter(code for code, _, _ in refused)
    kinds = [
        {
            "code": code,
            "error_count": count,
            "sample_errors": [
                {"error_message": message, "request": {"identifier": request}} for found, message, request in refused if found == code
            ][:_MOST_SAMPLES],
        }
        for code, count in counts.most_common()
    ]
    total = len(refused)
    event = {
        "id": object_id("evt_test"),
        "object": "v2.core.event",
        "changes": None,
        "context": None,
        "created": rfc3339(at_ms),
        "data": {
            "developer_message_summary": f"There {'is' if total == 1 else 'are'} {total} invalid event{'' if total == 1 else 's'}",
            "reason": {"error_count": total, "error_types": kinds},
            "validation_end": rfc3339(int(begins) + _WINDOW_MS),
            "validation_start": rfc3339(int(begins)),
        },
        "livemode": False,
        "reason": None,
        "related_object": {"id": meter, "type": "billing.meter", "url": f"/v1/billing/meters/{meter}"},
        "snapshot_event": None,
        "type": ERROR_REPORT,
    }
    listeners = [
        endpoint["id"]
        for endpoint in state.objects.get("webhook_endpoint", {}).values()
        if endpoint["status"] == "enabled" and endpoint["payload"] == "thin" and {"*", ERROR_REPORT} & set(endpoint["enabled_events"])
    ]
    told = {"record": "event", "event": event, "deliveries": dict.fromkeys(listeners, at_ms)}
    return [due("", "error_report", identifier, None), told]


def notification(event: Object) -> Object:
    """Give what a webhook carries of a thin event: everything but the data."""
    return {name: value for name, value in event.items() if name not in ("data", "changes")}


def rfc3339(milliseconds: int) -> str:
    """Write an instant as v2 does."""
    instant = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return instant.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def retrieve(call: Call) -> Answer:
    """Show a thin event with its data."""
    event = call.state.find("event", call.argument)
    if event is None or not _readable(call, event):
        raise errors.StripeError(f"No such event: {call.argument}", status=404, code="not_found")
    return Answer(event)


def listed(call: Call) -> Answer:
    """List thin events, newest first, a page at a time by an address that the answer gives."""
    parameters = call.parameters
    limit, start = parameters.integer("limit") or 20, parameters.integer("page") or 0
    if not 0 < limit <= _MOST_ON_A_PAGE:
        raise errors.StripeError(f"limit must be between 1 and {_MOST_ON_A_PAGE}.", parameter="limit")
    kinds, subject = parameters.texts("types"), parameters.text("object_id")
    chosen = [
        event
        for event in call.state.newest_first("event")
        if _readable(call, event) and (not kinds or event["type"] in kinds) and subject in (None, (event["related_object"] or {}).get("id"))
    ]
    following = f"/v2/core/events?limit={limit}&page={start + limit}" if start + limit < len(chosen) else None
    return Answer({"data": chosen[start : start + limit], "next_page_url": following, "previous_page_url": None})


def _readable(call: Call, event: Object) -> bool:
    if event["object"] != "v2.core.event":
        return False
    return bool(event["created"] > rfc3339(call.now_ms - _READABLE_SECONDS * 1000))


ROUTES = (
    Route("GET", "/v2/core/events", listed, frozenset({"limit", "object_id", "page", "types"})),
    Route("GET", "/v2/core/events/{id}", retrieve),
)
