"""E28 and E29: webhooks come signed, late, twice, in disorder or never; and a draft waits until its webhook was answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.system.emulator.listening import CYCLE, Listener, listening, wait_until_idle
from tests.system.emulator.running import DAY, HOUR, HandClock, RunningEmulator, World, make_world
from tests.system.emulator.test_cycle import go_to, invoices, period
from tests.system.emulator.test_shapes import subscribe

MINUTE = 60
GRACE = HOUR


@pytest.fixture(scope="module")
def quiet_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    """An emulator in which nobody else's periods end."""
    folder = tmp_path_factory.mktemp("webhooks")
    emulator = RunningEmulator(folder / "data", HandClock(folder / "clock"))
    yield emulator
    emulator.kill()


@pytest.fixture
def told(quiet_emulator: RunningEmulator) -> Iterator[World]:
    """A world of one customer; its subscription ends with the test, and all trouble with it."""
    before = quiet_emulator.ask("settings")
    world = make_world(quiet_emulator)
    world.clock.to_next(HOUR)
    yield world
    for subscription in world.stripe.v1.subscriptions.list({"status": "active"}).data:
        world.stripe.v1.subscriptions.cancel(subscription.id)
    wait_until_idle(quiet_emulator)
    stripe_faults = {fault["path"] for fault in quiet_emulator.ask("faults")["faults"]}
    quiet_emulator.tell("settings", before)
    assert stripe_faults == set(), "a fault was ordered that never struck"


@pytest.fixture
def listener(told: World) -> Iterator[Listener]:
    """An endpoint that hears the cycle."""
    with listening(told.emulator, enabled_events=CYCLE) as heard:
        yield heard


def finalized_at(world: World) -> int | None:
    """When the customer's only invoice was finalized."""
    (invoice,) = invoices(world)
    at: int | None = invoice.status_transitions.finalized_at
    return at


def test_finalization_waits_for_the_first_good_answer(told: World, listener: Listener) -> None:
    """E29: refused at once, after 5 and after 35 minutes; answered after 2 h 35 min, and the grace begins there."""
    _, end = period(subscribe(told))
    listener.status = 500
    go_to(told, end + GRACE)
    assert listener.kinds().count("invoice.created") == 3
    assert finalized_at(told) is None
    listener.status = 200
    answered = end + 155 * MINUTE
    go_to(told, answered + GRACE - 1)
    (draft,) = invoices(told)
    assert (draft.status, draft.automatically_finalizes_at) == ("draft", answered + GRACE)
    go_to(told, answered + GRACE)
    assert finalized_at(told) == answered + GRACE


def test_finalization_waits_72_hours_at_most(told: World, listener: Listener) -> None:
    """E29: an endpoint that never answers delays it, but not for ever; and it is told no more after three days."""
    _, end = period(subscribe(told))
    listener.status = 503
    go_to(told, end + 72 * HOUR - 1)
    assert finalized_at(told) is None
    go_to(told, end + 8 * DAY)
    assert finalized_at(told) == end + 72 * HOUR
    assert listener.kinds().count("invoice.created") == 10


def test_a_long_grace_is_not_made_longer(told: World, listener: Listener) -> None:
    """Answered at once, with 72 hours of grace: 72 hours; answered later: still 72 hours."""
    told.switch(finalization_grace_seconds=72 * HOUR)
    _, end = period(subscribe(told))
    listener.status = 500
    go_to(told, end + HOUR)
    listener.status = 200
    go_to(told, end + 72 * HOUR)
    assert finalized_at(told) == end + 72 * HOUR


def test_a_jump_delivers_each_webhook_as_of_its_date(told: World, listener: Listener) -> None:
    """Whoever looks five days later finds what would have been there had somebody looked all the time."""
    _, end = period(subscribe(told))
    go_to(told, end + 5 * DAY)
    assert finalized_at(told) == end + GRACE
    assert listener.kinds() == CYCLE


def test_usage_received_behind_a_slow_webhook_is_not_smuggled_in(told: World, listener: Listener) -> None:
    """The finalization waits its turn behind a webhook; what arrives meanwhile arrived after its date."""
    told.switch(aggregation_lag_maximum_seconds=0)
    _, end = period(subscribe(told, unit_amount=1))
    told.report("10")
    listener.thinks = threading.Event()
    told.clock.set_ms((end + 2 * HOUR) * 1000)
    listener.wait_until_heard()
    told.report("100", timestamp=end - 1)
    assert [invoice.status for invoice in invoices(told)] in (["draft"], [])
    listener.thinks.set()
    wait_until_idle(told.emulator)
    assert [(invoice.status, invoice.total) for invoice in invoices(told)] == [("paid", 10)]


def test_nobody_listens_nobody_is_waited_for(told: World) -> None:
    """An endpoint for other events holds nothing up."""
    _, end = period(subscribe(told))
    with listening(told.emulator, enabled_events=["invoice.paid"]) as listener:
        listener.status = 500
        go_to(told, end + GRACE)
        assert finalized_at(told) == end + GRACE
        listener.status = 200
        go_to(told, end + DAY)


@pytest.mark.parametrize(("gate", "expected"), [("all", 155 * MINUTE), ("any", 0), ("off", 0)])
def test_two_endpoints(told: World, listener: Listener, gate: str, expected: int) -> None:
    """Whether the last or the first of them is waited for, or none, is a switch."""
    told.switch(invoice_created_gate=gate)
    _, end = period(subscribe(told))
    with listening(told.emulator, enabled_events=["invoice.created"]) as other:
        other.status = 500
        go_to(told, end + 40 * MINUTE)
        other.status = 200
        go_to(told, end + DAY)
    assert finalized_at(told) == end + expected + GRACE


def test_an_endpoint_that_is_switched_off_is_not_waited_for(told: World, listener: Listener) -> None:
    """Its next attempt finds it off, and the grace begins there."""
    _, end = period(subscribe(told))
    listener.status = 500
    go_to(told, end)
    told.stripe.v1.webhook_endpoints.update(listener.endpoint, {"disabled": True})
    go_to(told, end + 5 * MINUTE + GRACE)
    assert finalized_at(told) == end + 5 * MINUTE + GRACE
    assert listener.kinds().count("invoice.created") == 1


def test_a_date_that_was_asked_for_waits_for_nobody(told: World, listener: Listener) -> None:
    """Scheduled finalization: webhook failures don't delay it."""
    _, end = period(subscribe(told))
    listener.status = 500
    go_to(told, end)
    (draft,) = invoices(told)
    told.stripe.v1.invoices.update(draft.id, {"automatically_finalizes_at": end + 2 * HOUR})
    go_to(told, end + 2 * HOUR)
    assert finalized_at(told) == end + 2 * HOUR
    listener.status = 200
    go_to(told, end + DAY)


def test_a_draft_held_back_is_finalized_by_hand(told: World, listener: Listener) -> None:
    """Without auto_advance nothing happens by itself."""
    _, end = period(subscribe(told))
    go_to(told, end)
    (draft,) = invoices(told)
    told.stripe.v1.invoices.update(draft.id, {"auto_advance": False})
    go_to(told, end + 5 * DAY)
    assert finalized_at(told) is None
    told.stripe.v1.invoices.finalize_invoice(draft.id)
    assert finalized_at(told) == end + 5 * DAY
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        told.stripe.v1.invoices.finalize_invoice(draft.id)
    assert listener.heard


def cycle_with(told: World, kind: str, event: str, **trouble: Any) -> int:
    """Order trouble for one type of event and end a period."""
    _, end = period(subscribe(told))
    told.trouble(kind, path=f"webhook:{event}", **trouble)
    go_to(told, end)
    go_to(told, end + GRACE)
    return end


def test_twice(told: World, listener: Listener) -> None:
    """The same event again, byte for byte its id; and another event about the same change."""
    cycle_with(told, "duplicate", "invoice.finalized")
    told.trouble("twin", path="webhook:invoice.paid")
    first, second = (event for event in listener.events() if event.type == "invoice.finalized")
    assert first.id == second.id
    go_to(told, invoices(told)[0].created + 40 * DAY)
    first, second = (event for event in listener.events() if event.type == "invoice.paid" and event.created > told.clock.now - 20 * DAY)
    assert first.id != second.id
    assert first.data.object["id"] == second.data.object["id"]


def test_late(told: World, listener: Listener) -> None:
    """A day late by the street's date, announced as the next thing due, its content that of its own date."""
    end = cycle_with(told, "delay", "customer.subscription.updated", seconds=DAY)
    assert listener.kinds() == CYCLE[1:]
    assert wait_until_idle(told.emulator)["next_due_ms"] == (end + DAY) * 1000
    go_to(told, end + DAY)
    assert listener.kinds() == [*CYCLE[1:], CYCLE[0]]
    last = listener.events()[-1]
    assert (last.created, last.data.object["items"]["data"][0]["current_period_start"]) == (end, end)
    assert listener.heard[-1].signed_at == end + DAY


def test_lost_on_the_way(told: World, listener: Listener) -> None:
    """Dropped: told again after five minutes. Lost: Stripe holds it for delivered; only the list knows it."""
    end = cycle_with(told, "drop", "invoice.paid")
    assert "invoice.paid" not in listener.kinds()
    go_to(told, end + GRACE + 5 * MINUTE)
    assert listener.kinds() == CYCLE
    told.trouble("lose", path="webhook:customer.subscription.updated")
    go_to(told, end + 40 * DAY)
    assert listener.kinds() == [*CYCLE, *CYCLE[1:]]
    query: Any = {"type": "customer.subscription.updated", "created": {"gt": end}}
    assert [event.pending_webhooks for event in told.stripe.v1.events.list(query).data] == [0]


@pytest.mark.parametrize(("kind", "ages"), [("stale", 600), ("future", -600)])
def test_dated_wrongly(told: World, listener: Listener, kind: str, ages: int) -> None:
    """The signature is right, its date is not."""
    end = cycle_with(told, kind, "invoice.created", seconds=600)
    (wrong,) = (heard for heard in listener.heard if heard.event(listener.secret).type == "invoice.created")
    assert end - wrong.signed_at == ages


def test_forged(told: World, listener: Listener) -> None:
    """Signed with a secret that nobody knows."""
    cycle_with(told, "forged", "invoice.created")
    refused = []
    for heard in listener.heard:
        try:
            heard.event(listener.secret)
        except stripe.SignatureVerificationError:
            refused.append(heard)
    assert len(refused) == 1
    assert b"invoice.created" in refused[0].body


def test_two_secrets_while_one_is_rolled(told: World, listener: Listener) -> None:
    """Until the old one expires both sign; afterwards only the new one."""
    _, end = period(subscribe(told))
    go_to(told, end)
    seconds = GRACE + MINUTE
    rolled = told.emulator.tell("roll_secret", {"endpoint": listener.endpoint, "expires_in_seconds": seconds})["secret"]
    go_to(told, end + GRACE)
    both = listener.heard[-1]
    assert both.event(listener.secret).id == both.event(rolled).id
    go_to(told, end + 40 * DAY)
    assert listener.heard[-1].event(rolled)
    with pytest.raises(stripe.SignatureVerificationError):
        listener.heard[-1].event(listener.secret)


def test_in_disorder(told: World, listener: Listener) -> None:
    """Those of one date come in the order that the switch says, and the same seed gives the same order."""
    told.switch(webhook_order="newest_first")
    _, end = period(subscribe(told))
    go_to(told, end)
    assert listener.kinds() == [CYCLE[1], CYCLE[0]]
    told.switch(webhook_order="shuffled", webhook_seed=1)
    go_to(told, end + GRACE)
    assert sorted(listener.kinds()) == sorted(CYCLE)


def test_busy_while_an_endpoint_thinks(told: World, listener: Listener) -> None:
    """The street's clock must wait for a webhook under way."""
    _, end = period(subscribe(told))
    listener.thinks = threading.Event()
    told.clock.set_ms(end * 1000)
    listener.wait_until_heard()
    seen = told.emulator.ask("activity")
    assert not seen["idle"]
    assert "webhooks to deliver" in seen["why"]
    listener.thinks.set()
    wait_until_idle(told.emulator)
    assert sorted(listener.kinds()) == sorted(CYCLE[:2])


def test_a_kill_loses_no_webhook(own_emulator: RunningEmulator) -> None:
    """What was not answered before a kill is told after it; the invoice waits for it all the same."""
    world = make_world(own_emulator)
    with listening(own_emulator, enabled_events=CYCLE) as listener:
        _, end = period(subscribe(world))
        listener.status = 500
        go_to(world, end)
        own_emulator.restart()
        listener.status = 200
        go_to(world, end + 5 * MINUTE + GRACE)
        assert finalized_at(world) == end + 5 * MINUTE + GRACE
        answered = listener.kinds()[2:]
        assert sorted(answered) == sorted(CYCLE)


def test_the_month_passes_by_the_machines_clock_too(tmp_path: Path) -> None:
    """The same cycle without anybody moving a date: a daily period that ends in a few seconds, and a grace of one."""
    emulator = RunningEmulator(tmp_path / "data", None)
    try:
        client: Any = emulator.client().v1
        emulator.tell("settings", {"finalization_grace_seconds": 1, "aggregation_lag_maximum_seconds": 0})
        meter = client.billing.meters.create({"display_name": "x", "event_name": "x", "default_aggregation": {"formula": "sum"}})
        customer = client.customers.create({"name": "Acme"})
        recurring = {"interval": "day", "usage_type": "metered", "meter": meter.id}
        price = client.prices.create({"currency": "usd", "product_data": {"name": "x"}, "unit_amount": 3, "recurring": recurring})
        start = customer.created - DAY + 4
        wish = {"id": "sub_x", "customer": customer.id, "items": [{"price": price.id}], "backdate_start_date": start}
        emulator.tell("subscriptions", wish)
        payload = {"stripe_customer_id": customer.id, "value": "5"}
        client.billing.meter_events.create({"event_name": "x", "payload": payload, "timestamp": start})
        with listening(emulator, enabled_events=["invoice.paid"]) as listener:
            listener.wait_until_heard()
            (heard,) = listener.heard
            paid = heard.event(listener.secret, tolerance=300).data.object
        assert (paid["total"], paid["created"]) == (15, start + DAY)
        assert paid["status_transitions"]["finalized_at"] == start + DAY + 1
    finally:
        emulator.kill()


def test_a_known_secret_through_the_door(own_emulator: RunningEmulator) -> None:
    """The street knows the secret before the endpoint exists; the secret is never shown again."""
    wish = {"id": "we_street", "url": "http://127.0.0.1:9/", "enabled_events": ["*"], "secret": "whsec_known"}
    made = own_emulator.tell("webhook_endpoints", wish)
    assert own_emulator.tell("webhook_endpoints", wish) == made
    assert "secret" not in made
    assert own_emulator.client().v1.webhook_endpoints.retrieve("we_street").to_dict() == made
    assert own_emulator.tell("roll_secret", {"endpoint": "we_street", "secret": "whsec_next"})["secret"] == "whsec_next"
