"""Meter events: what is accepted, what is refused at once, what is lost without a word."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import stripe

from tests.system.emulator.running import DAY, RunningEmulator, World, headers_of, make_world


def refused(world: World, value: str = "1", **others: Any) -> stripe.InvalidRequestError:
    """Report usage that must be refused with 400, and give the refusal."""
    before = world.page()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        world.report(value, **others)
    assert caught.value.http_status == 400
    assert world.page() == before, "a refused event must not be counted"
    return caught.value


def test_accepts_usage_and_gives_it_back_as_received(world: World) -> None:
    """E1: the answer carries the payload as texts, the given identifier, and the emulator's time."""
    event = world.report("12.5", identifier=world.name("a"), timestamp=world.clock.now - 60)
    assert event.payload.to_dict() == {"stripe_customer_id": world.customer, "value": "12.5"}
    assert (event.created, event.timestamp, event.livemode) == (world.clock.now, world.clock.now - 60, False)
    assert not hasattr(event, "id"), "a meter event has no id, its identifier is the handle"
    assert world.page()["value"] == "12.5"


def test_makes_an_identifier_and_a_timestamp_where_none_is_given(world: World) -> None:
    """E1: without an identifier every call is a new event, stamped at receipt."""
    first, second = world.report(), world.report()
    assert first.identifier != second.identifier
    assert first.timestamp == world.clock.now
    assert world.page()["events"] == 2


def test_refuses_an_identifier_it_remembers(world: World) -> None:
    """E2: a hard 400 without a code, which tells the SDK not to retry; other payload or not."""
    identifier = world.name("twice")
    world.report("5", identifier=identifier)
    for value in ("5", "6"):
        error = refused(world, value, identifier=identifier)
        assert error.user_message == f"An event already exists with identifier {identifier}."
        assert error.code is None
        assert headers_of(error)["stripe-should-retry"] == "false"
        assert error.json_body == {"error": {"type": "invalid_request_error", "message": error.user_message}}


def test_forgets_identifiers_and_then_counts_again(world: World) -> None:
    """E2: 24 hours by the emulator's clock after receipt the same identifier counts a second time."""
    identifier = world.name("forgotten")
    again_before = world.emulator.ask("books")["counted_again"]
    world.report("5", identifier=identifier)
    world.clock.advance(DAY - 1)
    refused(world, "5", identifier=identifier)
    world.clock.advance(1)
    world.report("5", identifier=identifier)
    assert world.page()["value"] == "10"
    assert world.emulator.ask("books")["counted_again"] == again_before + 1


def test_the_memory_of_identifiers_is_a_switch(world: World) -> None:
    """The window is documented only as at least 24 hours."""
    world.switch(identifier_window_seconds=60)
    identifier = world.name("short")
    world.report(identifier=identifier)
    world.clock.advance(60)
    world.report(identifier=identifier)
    assert world.page()["events"] == 2


def test_identifiers_are_unique_in_the_account_or_in_the_meter(world: World) -> None:
    """Switch: whether two meters may use one identifier is unknown."""
    other = make_world(world.emulator)
    identifier = world.name("both")
    world.report(identifier=identifier)
    refused(other, identifier=identifier)
    world.switch(identifier_scope="meter")
    second = world.name("both")
    world.report(identifier=second)
    other.report(identifier=second)


def test_time_has_a_window(world: World) -> None:
    """E6: 35 days back and 5 minutes ahead are the last instants taken."""
    now = world.clock.now
    earliest, latest = now - 35 * DAY, now + 300
    world.report(timestamp=earliest)
    world.report(timestamp=latest)
    assert refused(world, timestamp=earliest - 1).user_message == (
        f"The event timestamp cannot be more than 35 days in past. Expected a timestamp greater than or equal to {earliest}."
    )
    assert "5 minutes in the future" in str(refused(world, timestamp=latest + 1))


def test_time_is_unix_seconds(world: World) -> None:
    """An ISO date is no timestamp, though some send it."""
    error = refused(world, timestamp="2026-10-01T00:00:00Z")
    assert error.user_message == "Invalid integer: 2026-10-01T00:00:00Z"
    assert error.param == "timestamp"


@pytest.mark.parametrize("value", ["0", "-3", "0.000000000001", "999999999999999", "-12345.6789", "1000.50000000000000000000"])
def test_takes_decimals_and_negatives(world: World, value: str) -> None:
    """E7: up to 15 significant digits, either sign."""
    world.report(value)
    assert world.page()["events"] == 1


@pytest.mark.parametrize(
    "value", ["1000000000000000", "1.234567890123456", "1e3", "NaN", "Infinity", "0x1", "1_000", " 1", "1,5", "+1", "", "١"]
)
def test_refuses_what_is_no_plain_number_of_15_digits(world: World, value: str) -> None:
    """E7: too many digits, exponents and everything that Python alone would call a number."""
    refused(world, value)


def test_names_the_limit_on_digits(world: World) -> None:
    """E7: the text is Stripe's."""
    error = refused(world, "1234567890123456")
    assert error.user_message == "The value in the event payload can have at most 15 digits. Received 1234567890123456."


def test_refuses_a_payload_that_is_no_flat_map(world: World) -> None:
    """E7: nested values, and values under other keys than the meter's."""
    customer = {"stripe_customer_id": world.customer}
    assert refused(world, payload={**customer, "value": {"n": "1"}}).user_message == "value is not a string (Kind: map)"
    assert "Value key value not found" in str(refused(world, payload=customer))
    assert "Customer mapping key stripe_customer_id not found in payload." in str(refused(world, payload={"value": "1"}))


def test_a_meter_names_its_own_keys(emulator: RunningEmulator) -> None:
    """The customer and value keys are settings of the meter."""
    world = make_world(
        emulator, customer_mapping={"event_payload_key": "who", "type": "by_id"}, value_settings={"event_payload_key": "tokens"}
    )
    world.report(payload={"who": world.customer, "tokens": "7", "model": "small"})
    assert world.page()["value"] == "7"
    refused(world)


def test_refuses_a_meter_that_is_unknown_or_inactive(world: World) -> None:
    """E8: synchronously, with Stripe's sentence."""
    with pytest.raises(stripe.InvalidRequestError, match=r'No active meter found for event name "nobody"\.'):
        world.report(event_name="nobody")
    world.stripe.v1.billing.meters.deactivate(world.meter)
    assert refused(world).user_message == f'No active meter found for event name "{world.event_name}".'
    world.stripe.v1.billing.meters.reactivate(world.meter)
    world.report()


@pytest.mark.parametrize("deleted", [False, True])
def test_an_unknown_customer_is_accepted_and_never_counted(world: World, deleted: bool) -> None:
    """E9: 200, no sign of it anywhere but in the emulator's list of rejected usage."""
    customer = "cus_nobody"
    if deleted:
        customer = world.stripe.v1.customers.create({}).id
        world.stripe.v1.customers.delete(customer)
    identifier = world.name("lost")
    world.report(payload={"stripe_customer_id": customer, "value": "4"}, identifier=identifier)
    books = world.emulator.ask("books")
    assert books["meters"][world.event_name] == {}
    assert books["rejected"][world.event_name] == {customer: {"events": 1, "value": "4"}}
    refused(world, "4", identifier=identifier)


def test_two_switches_about_unknown_customers(world: World) -> None:
    """Unknown in public: whether v1 checks at once, and whether a rejected identifier may be used again."""
    lost = {"stripe_customer_id": "cus_nobody", "value": "4"}
    world.switch(customer_check="synchronous")
    error = refused(world, payload=lost)
    assert (error.code, error.user_message) == ("resource_missing", "No such customer: 'cus_nobody'")
    world.switch(customer_check="asynchronous", rejected_identifier_remembered=False)
    identifier = world.name("again")
    world.report(payload=lost, identifier=identifier)
    world.report("4", identifier=identifier)
    assert world.page()["value"] == "4"


def test_usage_before_the_customer_is_lost_for_good(world: World) -> None:
    """S15: making the customer afterwards brings nothing back."""
    customer = world.name("cus")
    world.report(payload={"stripe_customer_id": customer, "value": "4"})
    world.emulator.tell("customers", {"id": customer})
    assert world.emulator.ask("books")["meters"][world.event_name] == {}


@pytest.mark.parametrize(("answer", "status"), [("429", 429), ("409", 409)])
def test_one_call_in_flight_for_a_customer_and_meter(world: World, answer: str, status: int) -> None:
    """E12: the second of two calls is refused and not counted; which status is a switch."""
    world.switch(concurrent_answer=answer)
    world.trouble("delay", seconds=1.0)
    first = threading.Thread(target=world.report)
    first.start()
    while not world.emulator.ask("activity")["why"]:
        time.sleep(0.01)
    with pytest.raises(stripe.StripeError) as caught:
        world.report()
    make_world(world.emulator).report()
    first.join()
    assert caught.value.http_status == status
    assert headers_of(caught.value).get("stripe-rate-limited-reason") == ("resource-specific" if status == 429 else None)
    assert world.page()["events"] == 1


def test_refuses_calls_above_the_rate(world: World) -> None:
    """E13: 429 with a reason and without Retry-After; the SDK does not retry it."""
    world.switch(rate_limit_per_second=0)
    with pytest.raises(stripe.RateLimitError) as caught:
        world.report()
    assert caught.value.error is not None and caught.value.error.code == "rate_limit"
    assert headers_of(caught.value)["stripe-rate-limited-reason"] == "endpoint-rate"
    assert "retry-after" not in headers_of(caught.value)
