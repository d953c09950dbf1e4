"""Trouble on request, and the doors through which it is ordered."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
import stripe

from tests.system.emulator.running import World


def left(world: World) -> list[int | None]:
    """Give the counts of the faults that can still strike."""
    return [fault["count"] for fault in world.emulator.ask("faults")["faults"]]


def outcome(world: World, **others: Any) -> str:
    """Report once and name what came of it."""
    try:
        world.report(**others)
    except stripe.RateLimitError as error:
        return str(error.error and error.error.code)
    except stripe.APIConnectionError:
        return "dropped"
    except stripe.APIError as error:
        return str(error.http_status)
    return "ok"


@pytest.mark.parametrize(
    ("kind", "expected", "counted"),
    [
        ("429", "rate_limit", 0),
        ("lock_timeout", "lock_timeout", 0),
        ("500_before", "500", 0),
        ("500_after", "500", 1),
        ("drop_before", "dropped", 0),
        ("drop_after", "dropped", 1),
        ("reject", "ok", 0),
        ("delay", "ok", 1),
    ],
)
def test_each_kind_strikes_as_often_as_asked(world: World, kind: str, expected: str, counted: int) -> None:
    """Twice the fault, then none; the books tell which of them did the work."""
    world.trouble(kind, 2, seconds=0.05)
    assert [outcome(world) for _ in range(2)] == [expected, expected]
    assert world.page()["events"] == 2 * counted
    assert left(world) == []
    assert outcome(world) == "ok"
    assert world.page()["events"] == 2 * counted + 1


def test_a_number_is_as_good_as_its_text(world: World) -> None:
    """The contract writes 429 without quotes."""
    world.emulator.tell("faults", [{"path": "/v1/billing/meter_events", "kind": 429, "count": 1}])
    assert outcome(world) == "rate_limit"


def test_the_lock_advises_to_retry(world: World) -> None:
    """E14: the SDK follows Stripe's advice and gets through; a plain 429 it does not retry."""
    client = world.emulator.client(retries=1).v1.billing.meter_events
    world.trouble("lock_timeout")
    client.create(world.form())
    world.trouble("429")
    with pytest.raises(stripe.RateLimitError):
        client.create(world.form())


def test_a_rejected_event_looks_accepted(world: World) -> None:
    """``reject``: 200 with an ordinary body, remembered identifier, and only the books know."""
    identifier = world.name("rejected")
    world.trouble("reject")
    assert world.report("9", identifier=identifier).identifier == identifier
    books = world.emulator.ask("books")
    assert books["meters"][world.event_name] == {}
    assert books["rejected"][world.event_name] == {world.customer: {"events": 1, "value": "9"}}
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        world.report("9", identifier=identifier)


def test_a_delay_takes_its_time(world: World) -> None:
    """``delay``: the request is in flight for so many seconds and then does its work."""
    world.trouble("delay", seconds=0.5)
    begun = time.monotonic()
    world.report()
    assert time.monotonic() - begun >= 0.5


def test_faults_strike_the_path_they_name(world: World) -> None:
    """Other paths pass; a star stands for anything; the first fault that fits comes first."""
    world.trouble("429", path="/v1/customers*")
    world.trouble("500_before", path="/v1/customers/*")
    assert outcome(world) == "ok"
    with pytest.raises(stripe.RateLimitError):
        world.stripe.v1.customers.retrieve(world.customer)
    with pytest.raises(stripe.APIError):
        world.stripe.v1.customers.retrieve(world.customer)
    world.stripe.v1.customers.retrieve(world.customer)


def test_faults_choose_by_method_and_body(world: World) -> None:
    """Only a POST, only of one customer."""
    world.trouble("429", path="*", method="POST", body_contains="chosen")
    world.stripe.v1.customers.retrieve(world.customer)
    assert outcome(world, identifier=world.name("other")) == "ok"
    assert outcome(world, identifier=world.name("chosen")) == "rate_limit"


def test_faults_skip_and_come_round(world: World) -> None:
    """After so many requests, and then each second one."""
    world.trouble("500_after", 2, skip=1, every=2)
    assert [outcome(world) for _ in range(6)] == ["ok", "ok", "500", "ok", "500", "ok"]


def test_chance_is_drawn_from_the_identifier(world: World) -> None:
    """The same identifiers meet the same faults, in whatever order they come; a retry draws again."""
    names = [world.name(str(number)) for number in range(40)]

    def struck(order: list[str]) -> set[str]:
        requests.delete(f"{world.emulator.url}/_emulator/faults", timeout=30)
        world.switch(identifier_window_seconds=0)
        world.trouble("500_before", None, probability=0.5, seed=7)
        return {name for name in order if outcome(world, identifier=name) == "500"}

    first = struck(names)
    assert 5 < len(first) < 35
    assert left(world) == [None], "without a count it lasts"
    assert "ok" in {outcome(world, identifier=name) for name in first for _ in range(20)}


def test_a_request_that_is_refused_uses_no_fault_up(world: World) -> None:
    """A fault after the work waits for work."""
    world.trouble("500_after")
    with pytest.raises(stripe.InvalidRequestError):
        world.report("nonsense")
    identifier = world.name("a")
    assert left(world) == [1]
    assert outcome(world, identifier=identifier) == "500"
    assert left(world) == []


def test_a_replay_uses_no_fault_up(world: World) -> None:
    """An answer from memory does no work either."""
    key = world.name("key")
    world.report(key=key)
    world.trouble("drop_after")
    world.report(key=key)
    assert left(world) == [1]


@pytest.mark.parametrize(
    ("door", "wish"),
    [
        ("faults", [{"path": "/v1/x", "kind": "explode", "count": 1}]),
        ("faults", [{"kind": "429", "count": 1}]),
        ("faults", [{"path": "/v1/x", "kind": "429", "count": 1, "colour": "red"}]),
        ("faults", [{"path": "/v1/x", "kind": "429", "probability": 2}]),
        ("faults", "429"),
        ("settings", {"aggregation_lag_maximum_secs": 1}),
        ("settings", {"concurrent_answer": "418"}),
        ("settings", {"latency_seconds": "slow"}),
        ("settings", {"latency_seconds": -1}),
        ("settings", []),
        ("customers", {"name": "without an id"}),
        ("customers", {"id": "cus_x", "colour": "red"}),
        ("invoices", {"id": "in_x"}),
    ],
)
def test_doors_refuse_what_they_do_not_understand(world: World, door: str, wish: object) -> None:
    """A misspelt order must not pass for a quiet one."""
    answer = requests.post(f"{world.emulator.url}/_emulator/{door}", json=wish, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert left(world) == []


def test_set_up_doors_are_idempotent(world: World) -> None:
    """The same id again gives what is there, unchanged."""
    identifier = world.name("cus")
    first = world.emulator.tell("customers", {"id": identifier, "name": "Acme", "metadata": {"plan": "basic"}})
    world.clock.advance(60)
    assert world.emulator.tell("customers", {"id": identifier, "name": "Other"}) == first
    assert world.stripe.v1.customers.retrieve(identifier).name == "Acme"
    meter = {"id": world.name("mtr"), "display_name": "x", "event_name": world.name("e"), "default_aggregation": {"formula": "sum"}}
    assert world.emulator.tell("meters", meter)["id"] == meter["id"]
