"""Idempotency keys and lost answers: what a client meets that sends again."""

from __future__ import annotations

import threading
import time

import pytest
import requests
import stripe

from tests.system.emulator.running import DAY, World

METER_EVENTS = "/v1/billing/meter_events"


def raw_form(world: World, identifier: str, value: str = "1") -> str:
    """Write the form of a meter event by hand."""
    return f"event_name={world.event_name}&identifier={identifier}&payload[stripe_customer_id]={world.customer}&payload[value]={value}"


def test_the_same_key_and_parameters_give_the_same_answer(world: World) -> None:
    """E3: the second call is answered from memory, says so, and counts nothing."""
    key = world.name("key")
    first = world.report("5", identifier=key, key=key)
    world.clock.advance(60)
    second = world.report("5", identifier=key, key=key)
    assert second.to_dict() == first.to_dict()
    assert second.last_response.headers["idempotent-replayed"] == "true"
    assert second.last_response.headers["original-request"] == first.last_response.headers["request-id"]
    assert "idempotent-replayed" not in first.last_response.headers
    assert world.page()["events"] == 1


def test_order_and_encoding_of_parameters_do_not_matter(world: World) -> None:
    """E3: the SDKs of other languages sort keys and encode brackets."""
    key = world.name("key")
    plain = raw_form(world, key)
    encoded = "&".join(reversed(plain.split("&"))).replace("[", "%5B").replace("]", "%5D")
    assert world.emulator.post(METER_EVENTS, plain, Idempotency_Key=key).status_code == 200
    again = world.emulator.post(METER_EVENTS, encoded, Idempotency_Key=key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")


def test_a_key_stands_for_one_request(world: World) -> None:
    """E4: other parameters, or another endpoint, under a used key is an error of its own type."""
    key = world.name("key")
    world.report("5", key=key)
    with pytest.raises(stripe.IdempotencyError, match=f"Try using a key other than '{key}'"):
        world.report("6", key=key)
    with pytest.raises(stripe.IdempotencyError):
        world.stripe.v1.customers.create({"name": "x"}, {"idempotency_key": key})
    assert world.page()["value"] == "5"


def test_a_key_in_flight_is_a_conflict(world: World) -> None:
    """E4: 409 while the first request is under way; afterwards its answer."""
    key = world.name("key")
    world.trouble("delay", seconds=1.0)
    first = threading.Thread(target=world.report, kwargs={"key": key, "identifier": key})
    first.start()
    while not world.emulator.ask("activity")["why"]:
        time.sleep(0.01)
    with pytest.raises(stripe.APIError, match="There is currently another in-progress request using this Idempotent Key") as caught:
        world.report(key=key, identifier=key)
    first.join()
    assert caught.value.http_status == 409
    assert caught.value.error is not None and caught.value.error.code == "idempotency_key_in_use"
    assert world.report(key=key, identifier=key).last_response.headers["idempotent-replayed"] == "true"
    assert world.page()["events"] == 1


def test_a_key_is_forgotten(world: World) -> None:
    """After its window the request runs again: only the identifier's own window could still hold it back."""
    key = world.name("key")
    world.report(key=key)
    world.clock.advance(DAY)
    assert "idempotent-replayed" not in world.report(key=key).last_response.headers
    assert world.page()["events"] == 2


def test_a_key_has_a_length(world: World) -> None:
    """255 characters is the most."""
    world.report(key="k" * 250 + world.customer[-5:])
    with pytest.raises(stripe.IdempotencyError, match="at most 255"):
        world.report(key="k" * 256)


def test_refusals_are_not_kept(world: World) -> None:
    """A 400 leaves the key free: mended, the same request goes through."""
    key = world.name("key")
    world.stripe.v1.billing.meters.deactivate(world.meter)
    with pytest.raises(stripe.InvalidRequestError):
        world.report(key=key)
    world.stripe.v1.billing.meters.reactivate(world.meter)
    world.report(key=key)


@pytest.mark.parametrize("kind", ["500_after", "drop_after"])
def test_a_lost_answer_was_counted(world: World, kind: str) -> None:
    """E5: the work was done; the same key gives what was saved, another key meets the identifier."""
    identifier = world.name("lost")
    world.trouble(kind)
    with pytest.raises(stripe.StripeError):
        world.report("5", identifier=identifier, key=identifier)
    assert world.page()["value"] == "5"
    replay = world.emulator.post(METER_EVENTS, raw_form(world, identifier, "5"), Idempotency_Key=identifier)
    assert replay.headers["Idempotent-Replayed"] == "true"
    # A stored 500 is answered again and again, although the event was counted: only the summary tells.
    assert replay.status_code == (500 if kind == "500_after" else 200)
    with pytest.raises(stripe.InvalidRequestError, match="An event already exists with identifier"):
        world.report("5", identifier=identifier)
    assert world.page()["value"] == "5"


@pytest.mark.parametrize("kind", ["500_before", "drop_before"])
def test_a_failure_before_the_work_counted_nothing(world: World, kind: str) -> None:
    """Nothing happened, nothing is kept, and the same key goes through."""
    identifier = world.name("early")
    world.trouble(kind)
    with pytest.raises(stripe.StripeError):
        world.report("5", identifier=identifier, key=identifier)
    assert world.page()["events"] == 0
    world.report("5", identifier=identifier, key=identifier)
    assert world.page()["value"] == "5"


def test_a_500_may_be_kept_or_not(world: World) -> None:
    """Optional: a stored 500 that did nothing, and one after the work that was not stored."""
    early, late = world.name("early"), world.name("late")
    world.trouble("500_before", stored=True)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            world.report(identifier=early, key=early)
    assert world.page()["events"] == 0
    world.trouble("500_after", stored=False)
    with pytest.raises(stripe.APIError):
        world.report(identifier=late, key=late)
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        world.report(identifier=late, key=late)
    assert world.page()["events"] == 1


def test_the_sdk_retries_with_its_own_key(world: World) -> None:
    """E5: with retries on, a dropped connection after the work ends in the saved answer, counted once."""
    world.trouble("drop_after", 2)
    event = world.emulator.client(retries=2).v1.billing.meter_events.create(world.form("5"))
    assert event.last_response is not None and event.last_response.headers["idempotent-replayed"] == "true"
    assert world.page()["value"] == "5"


def test_reading_needs_no_key(world: World) -> None:
    """Keys are for POST: a GET with one is simply answered."""
    answer = requests.get(
        f"{world.emulator.url}/v1/customers/{world.customer}",
        headers={"Authorization": "Bearer sk_test_emulator_tests", "Idempotency-Key": "k"},
        timeout=30,
    )
    assert answer.status_code == 200
    assert "Idempotent-Replayed" not in answer.headers
