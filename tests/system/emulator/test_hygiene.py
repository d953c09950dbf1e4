"""Keys, forms, headers and error bodies: what every SDK relies on."""

from __future__ import annotations

import http.client
from typing import Any

import pytest
import requests
import stripe

from tests.system.emulator.listening import wait_until_idle
from tests.system.emulator.running import API_KEY, World, headers_of

METER_EVENTS = "/v1/billing/meter_events"


def test_asks_for_a_key(world: World) -> None:
    """E30: no key and a wrong key are 401, and the wrong key is not shown whole."""
    url = f"{world.emulator.url}/v1/account"
    missing = requests.get(url, timeout=30)
    assert missing.status_code == 401
    assert "You did not provide an API key" in missing.json()["error"]["message"]
    stranger = stripe.StripeClient("sk_test_someone_else_entirely", base_addresses={"api": world.emulator.url})
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key provided: sk_test_") as caught:
        stranger.v1.customers.list()
    assert "someone_else" not in str(caught.value)
    assert requests.get(url, auth=(API_KEY, ""), timeout=30).status_code == 200, "curl -u KEY: is Stripe's own example"


def test_knows_the_account(world: World) -> None:
    """The account has an id and no livemode; objects and the balance say the mode."""
    account = world.stripe.v1.accounts.retrieve_current()
    assert account.id.startswith("acct_")
    assert "livemode" not in account.to_dict()
    assert world.stripe.v1.balance.retrieve().livemode is False
    world.switch(account_id="acct_another")
    assert world.stripe.v1.accounts.retrieve_current().id == "acct_another"


def test_names_each_request(world: World) -> None:
    """E30: every answer, good or bad, has a request id and a version: the one asked for."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        world.stripe.v1.customers.retrieve("cus_none")
    assert caught.value.request_id is not None and caught.value.request_id.startswith("req_")
    assert headers_of(caught.value)["stripe-version"] == "2026-10-28.endive"
    old = world.emulator.post("/v1/customers", "name=x", Stripe_Version="2026-03-25.dahlia")
    assert old.headers["Stripe-Version"] == "2026-03-25.dahlia"
    assert old.headers["Request-Id"] != caught.value.request_id


@pytest.mark.parametrize(
    ("path", "form", "message", "code", "parameter"),
    [
        (METER_EVENTS, "payload[value]=1", "Missing required param: event_name.", "parameter_missing", "event_name"),
        (METER_EVENTS, "event_name=x", "Missing required param: payload.", "parameter_missing", "payload"),
        (METER_EVENTS, "event_name=x&payload[a]=1&usage=3", "Received unknown parameter: usage", "parameter_unknown", "usage"),
        (METER_EVENTS, "event_name=x&payload=1", "Invalid object", None, "payload"),
        (METER_EVENTS, "event_name=&payload[a]=1", "You passed an empty string for 'event_name'", "parameter_invalid_empty", "event_name"),
        ("/v1/billing/meters", "display_name=x&event_name=y", "Missing required param: default_aggregation.", "parameter_missing", None),
        (
            "/v1/billing/meters",
            "display_name=x&event_name=y&default_aggregation[formula]=max",
            "Invalid default_aggregation[formula]: must be one of count, last, or sum",
            None,
            "default_aggregation[formula]",
        ),
        (
            "/v1/billing/meters",
            "display_name=x&event_name=y&default_aggregation[formula]=sum&value_settings[key]=x",
            "Received unknown parameter: value_settings[key]",
            "parameter_unknown",
            "value_settings[key]",
        ),
        ("/v1/customers", "expand[]=subscriptions", "This property cannot be expanded (subscriptions).", None, "expand"),
    ],
)
def test_refuses_unknown_missing_and_ill_typed_parameters(
    world: World, path: str, form: str, message: str, code: str | None, parameter: str | None
) -> None:
    """E30: a v1 error body that names the parameter."""
    answer = world.emulator.post(path, form)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(message)
    assert error.get("code") == code
    assert parameter is None or error["param"] == parameter


@pytest.mark.parametrize(("name", "length"), [("event_name", 101), ("identifier", 101)])
def test_texts_have_a_length(world: World, name: str, length: int) -> None:
    """100 characters for identifiers and event names."""
    with pytest.raises(stripe.InvalidRequestError, match="must be at most 100 characters"):
        world.report(**{name: "x" * length})


@pytest.mark.parametrize("path", ["/v1/nope", "/v2/billing/meter_events", "/v1/customers/a/b", "/", "/v1/billing/meter_events/x"])
def test_unknown_addresses(world: World, path: str) -> None:
    """What it does not have is 404 in Stripe's words."""
    answer = world.emulator.post(path, "")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith(f"Unrecognized request URL (POST: {path})")


def test_forms_of_other_sdks(world: World) -> None:
    """Chunked bodies, encoded brackets, ``+`` and ``%20``, a charset, keys in any order, no version."""
    connection = http.client.HTTPConnection("127.0.0.1", world.emulator.port, timeout=30)
    form = (
        f"payload%5Bvalue%5D=3&identifier=a+b%20c-{world.meter}&payload[stripe_customer_id]={world.customer}&event_name={world.event_name}"
    )
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
    connection.request("POST", METER_EVENTS, body=iter([form[:40].encode(), form[40:].encode()]), headers=headers, encode_chunked=True)
    answer = connection.getresponse()
    body: Any = answer.read().decode()
    assert answer.status == 200, body
    assert f'"identifier": "a b c-{world.meter}"' in body
    assert world.page()["value"] == "3"


@pytest.mark.parametrize("body", [b"event_name=%ff", b"event_name=\xff"])
def test_refuses_bytes_that_are_no_text(world: World, body: bytes) -> None:
    """Invalid UTF-8 is a 400, not a crash."""
    assert world.emulator.post(METER_EVENTS, body).status_code == 400


def test_refuses_json(world: World) -> None:
    """v1 takes forms only."""
    answer = world.emulator.post(METER_EVENTS, '{"event_name": "x"}', Content_Type="application/json")
    assert answer.status_code == 400
    assert "check that your POST content type is application/x-www-form-urlencoded" in answer.json()["error"]["message"]


def test_one_event_name_one_meter(world: World) -> None:
    """A second meter on a used name is an invalid request; the name and the formula of a meter never change."""
    wish: Any = {"display_name": "Again", "event_name": world.event_name, "default_aggregation": {"formula": "sum"}}
    with pytest.raises(stripe.InvalidRequestError):
        world.stripe.v1.billing.meters.create(wish)
    other: Any = {"event_name": "other"}
    with pytest.raises(stripe.InvalidRequestError, match="unknown parameter: event_name"):
        world.stripe.v1.billing.meters.update(world.meter, other)
    assert world.stripe.v1.billing.meters.update(world.meter, {"display_name": "Renamed"}).display_name == "Renamed"


def test_lists_are_newest_first_and_paged(world: World) -> None:
    """Customers come ten at a time, the newest first, and the SDK walks through all of them."""
    email = f"{world.meter}@example.com"
    made = [world.stripe.v1.customers.create({"email": email, "metadata": {"1": str(number)}}).id for number in range(12)]
    found = world.stripe.v1.customers.list({"email": email})
    assert [customer.id for customer in found.data] == made[:1:-1]
    assert [customer.id for customer in found.auto_paging_iter()] == made[::-1]
    assert found.data[0].metadata is not None and found.data[0].metadata["1"] == "11"
    world.stripe.v1.customers.delete(made[0])
    assert world.stripe.v1.customers.retrieve(made[0]).deleted
    assert len(list(world.stripe.v1.customers.list({"email": email}).auto_paging_iter())) == 11
    assert world.stripe.v1.customers.update(made[1], {"name": "New"}).email == email


def test_meters_are_listed_by_status(world: World) -> None:
    """An inactive meter is found among the inactive ones only."""
    world.stripe.v1.billing.meters.deactivate(world.meter)

    def listed(status: Any) -> set[str]:
        return {meter.id for meter in world.stripe.v1.billing.meters.list({"status": status, "limit": 100}).auto_paging_iter()}

    assert world.meter in listed("inactive")
    assert world.meter not in listed("active")
    assert world.stripe.v1.billing.meters.retrieve(world.meter).status_transitions.deactivated_at == world.clock.now
    with pytest.raises(stripe.InvalidRequestError, match="already inactive"):
        world.stripe.v1.billing.meters.deactivate(world.meter)


def test_what_it_was_asked_is_on_record(world: World) -> None:
    """The request log counts by endpoint and outcome and keeps what was sent."""
    before = world.emulator.ask("requests", limit=0)
    world.report("3", identifier=world.meter, key=world.meter)
    world.report("3", identifier=world.meter, key=world.meter)
    with pytest.raises(stripe.InvalidRequestError):
        world.report("3", identifier=world.meter)
    after = world.emulator.ask("requests", after=before["total"], path=METER_EVENTS)
    first, second, third = after["requests"]
    assert (first["executed"], first["replayed"], first["idempotency_key"]) == (True, False, world.meter)
    assert (second["executed"], second["replayed"]) == (False, True)
    assert (third["outcome"], third["parameters"]["identifier"]) == ("400", world.meter)
    counted = after["counts"][f"POST {METER_EVENTS}"]["200"] - before["counts"].get(f"POST {METER_EVENTS}", {}).get("200", 0)
    assert counted == 2


def test_says_when_it_is_busy(world: World) -> None:
    """The street's clock waits for requests in flight, webhooks under way and what is due; what lies ahead is announced."""
    before = wait_until_idle(world.emulator)
    ahead = before["next_due_ms"]
    assert before == {"idle": True, "work": before["work"], "next_due_ms": ahead, "owns": [], "why": ""}
    assert ahead is None or ahead > world.clock.now_ms
    world.report()
    assert world.emulator.ask("activity")["work"] == before["work"] + 1
