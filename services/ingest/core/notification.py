"""What is read from a verified webhook at the door: enough to keep and find it, nothing to act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trueup.contracts.errors import Poison
from trueup.contracts.instants import milliseconds
from trueup.contracts.problems import is_text
from trueup.contracts.webhooks import StripeWebhook, read_event

_LONGEST = 255
_LATEST_SECONDS = 253_402_300_799  # the end of year 9999


class UnreadableNotification(ValueError):
    """The signature is right, and the body is no event."""


def read_notification(body: bytes, signature: str, received_at_ms: int) -> tuple[bytes, StripeWebhook]:
    """The key and the record of a notification; UnreadableNotification when the body is none."""
    try:
        event = read_event(body)
    except Poison as fault:
        raise UnreadableNotification(str(fault)) from fault
    livemode, version = event.get("livemode"), event.get("api_version")
    if not isinstance(livemode, bool):
        raise UnreadableNotification("livemode is no boolean")
    webhook = StripeWebhook(
        event_id=_name(event, "id"),
        type=_name(event, "type"),
        api_version=_name(event, "api_version") if version is not None else None,
        livemode=livemode,
        created_ms=_created_ms(event.get("created")),
        received_at_ms=received_at_ms,
        signature=signature,
        body=body,
    )
    return (_customer(event) or webhook.event_id).encode(), webhook


def _name(event: Mapping[str, Any], name: str) -> str:
    text = event.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST or "\0" in text or not is_text(text):
        raise UnreadableNotification(f"{name} is no name")
    return text


def _created_ms(created: object) -> int:
    """Snapshot events say whole seconds, thin ones an RFC 3339 instant."""
    if isinstance(created, int) and not isinstance(created, bool) and 0 <= created <= _LATEST_SECONDS:
        return created * 1_000
    if isinstance(created, str):
        try:
            return milliseconds(created)
        except (ValueError, OverflowError) as fault:
            raise UnreadableNotification("created is no instant") from fault
    raise UnreadableNotification("created is no instant")


def _customer(event: Mapping[str, Any]) -> str | None:
    """Stripe's id of the customer that the event is about: what happens to one customer stays in one partition."""
    data = event.get("data")
    about = data.get("object") if isinstance(data, dict) else None
    if not isinstance(about, dict):
        return None
    customer = about.get("id") if about.get("object") == "customer" else about.get("customer")
    if isinstance(customer, dict):
        customer = customer.get("id")
    return customer if isinstance(customer, str) and 0 < len(customer) <= _LONGEST and is_text(customer) else None
