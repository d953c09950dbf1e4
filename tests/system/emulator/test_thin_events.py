"""E11: what was received and then refused is reported by thin events, with a true count and a few samples."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.system.emulator.listening import listening, wait_until_idle
from tests.system.emulator.running import DAY, World

REPORT = "v1.billing.meter.error_report_triggered"


def test_refused_events_are_reported_and_fetched(world: World) -> None:
    """The webhook has no data; the SDK fetches it, and what is older than thirty days is gone."""
    world.clock.to_next(10)
    with listening(world.emulator, enabled_events=[REPORT], payload="thin") as listener:
        for number in range(7):
            world.report(payload={"stripe_customer_id": "cus_nobody", "value": "1"}, key=f"{world.meter}-{number}")
        world.clock.advance(12)
        wait_until_idle(world.emulator)
        (heard,) = listener.heard
        notification: Any = world.stripe.parse_event_notification(heard.body, heard.fresh_signature(listener.secret), listener.secret)
        assert type(notification).__name__ == "V1BillingMeterErrorReportTriggeredEventNotification"
        assert b'"data"' not in heard.body
        assert notification.related_object.id == world.meter
        assert notification.fetch_related_object().event_name == world.event_name
        event = notification.fetch_event()
    (kind,) = event.data.reason.error_types
    assert (event.data.reason.error_count, kind.error_count, kind.code) == (7, 7, "meter_event_customer_not_found")
    assert [sample.request.identifier for sample in kind.sample_errors] == [f"{world.meter}-{number}" for number in range(5)]
    query: Any = {"object_id": world.meter}
    assert [found.id for found in world.stripe.v2.core.events.list(query).data] == [event.id]
    world.clock.advance(30 * DAY)
    with pytest.raises(stripe.StripeError):
        world.stripe.v2.core.events.retrieve(event.id)


def test_what_was_rejected_on_order_is_reported_too(world: World) -> None:
    """Each ten seconds have a report of their own; snapshots and thin events do not mix."""
    world.clock.to_next(10)
    world.trouble("reject", 2)
    world.report("1")
    world.clock.advance(10)
    world.report("2")
    world.clock.advance(60)
    wait_until_idle(world.emulator)
    query: Any = {"object_id": world.meter, "types": [REPORT]}
    events: Any = world.stripe.v2.core.events.list(query).data
    assert [event.data.reason.error_count for event in events] == [1, 1]
    assert all(event.object == "event" for event in world.stripe.v1.events.list({"limit": 100}).data)
