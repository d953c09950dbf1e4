"""E20 to E23: a period ends, a draft is made, its grace passes, it is final and paid; and what usage is on it."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal
from typing import Any

import pytest

from tests.system.emulator.listening import CYCLE, listening, wait_until_idle
from tests.system.emulator.running import DAY, HOUR, World
from tests.system.emulator.test_shapes import assert_shape, subscribe


def instant(text: str) -> int:
    """Read a date as unix seconds."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp())


@pytest.fixture
def prompt(world: World) -> World:
    """A world in which Stripe aggregates at once and the shared emulator's clock stands on a whole hour."""
    world.switch(aggregation_lag_maximum_seconds=0)
    world.clock.to_next(HOUR)
    return world


def period(made: dict[str, Any]) -> tuple[int, int]:
    """Give the first period of the only item."""
    item = made["subscription"]["items"]["data"][0]
    return item["current_period_start"], item["current_period_end"]


def go_to(world: World, instant: int) -> None:
    """Move the date, and wait until all is done that it brings."""
    world.clock.set_ms(instant * 1000)
    wait_until_idle(world.emulator)


def invoices(world: World) -> list[Any]:
    """Read the customer's invoices, newest first."""
    found: Any = world.stripe.v1.invoices.list({"customer": world.customer})
    return list(found.data)


def kinds(world: World) -> list[str]:
    """Read the types of the events of this customer, oldest first."""
    every: Any = world.stripe.v1.events.list({"limit": 100}).auto_paging_iter()
    return [event.type for event in every if event.data.object.to_dict().get("customer") == world.customer][::-1]


def test_a_period_ends_in_a_paid_invoice(prompt: World) -> None:
    """Draft at the second the period ends, final after the grace, paid at once; the items move on, the subscription has no period."""
    made = subscribe(prompt, unit_amount=5)
    start, end = period(made)
    prompt.report("14")
    prompt.report("-1")
    go_to(prompt, end - 1)
    assert invoices(prompt) == []
    go_to(prompt, end)
    (draft,) = invoices(prompt)
    assert (draft.status, draft.billing_reason, draft.created, draft.number) == ("draft", "subscription_cycle", end, None)
    assert draft.automatically_finalizes_at == end + HOUR
    (item,) = prompt.stripe.v1.subscriptions.retrieve(made["subscription"]["id"]).to_dict()["items"]["data"]
    assert item["current_period_start"] == end
    go_to(prompt, end + HOUR - 1)
    assert invoices(prompt)[0].status == "draft"
    go_to(prompt, end + HOUR)
    (final,) = invoices(prompt)
    assert (final.id, final.status, final.total, final.amount_paid, final.amount_remaining) == (draft.id, "paid", 65, 65, 0)
    assert (final.status_transitions.finalized_at, final.status_transitions.paid_at) == (end + HOUR, end + HOUR)
    assert final.automatically_finalizes_at is None
    (line,) = final.lines.data
    assert (line.quantity, line.quantity_decimal, line.amount) == (13, Decimal(13), 65)
    assert (line.period.start, line.period.end) == (start, end)
    assert line.parent.subscription_item_details.subscription_item == item["id"]
    assert_shape(final.to_dict(), type(final))
    assert_shape(line.to_dict(), type(line))
    assert kinds(prompt)[-5:] == [*CYCLE, "invoice.payment_succeeded"]


def test_the_event_tells_the_old_period(prompt: World) -> None:
    """E20: ``previous_attributes`` holds the whole array of items, since its elements changed."""
    made = subscribe(prompt)
    start, end = period(made)
    go_to(prompt, end)
    events = prompt.stripe.v1.events.list({"type": "customer.subscription.updated", "created": {"gte": end}})
    (event,) = [event for event in events.data if event.data.object.to_dict().get("customer") == prompt.customer]
    previous: Any = event.data.previous_attributes
    assert previous["items"]["data"][0]["current_period_start"] == start
    assert event.data.object["items"]["data"][0]["current_period_start"] == end
    assert_shape(event.to_dict(), type(event))


def test_usage_counts_until_it_is_final_and_never_after(prompt: World) -> None:
    """E21, E22, E23: inside the grace for the old period, from the boundary second on for the next, after finalization for none."""
    made = subscribe(prompt, unit_amount=1)
    start, end = period(made)
    prompt.report("1", timestamp=start)
    go_to(prompt, end)
    prompt.report("10", timestamp=end - 1)
    prompt.report("100", timestamp=end)
    go_to(prompt, end + HOUR - 1)
    prompt.report("1000", timestamp=end - 1)
    go_to(prompt, end + HOUR)
    prompt.report("10000", timestamp=end - 1)
    assert [invoice.total for invoice in invoices(prompt)] == [1011]
    assert sum(row.aggregated_value for row in prompt.summaries(start // 60 * 60, end // 60 * 60 + 60).data) == 11111
    following = prompt.stripe.v1.subscriptions.retrieve(made["subscription"]["id"]).to_dict()["items"]["data"][0]["current_period_end"]
    go_to(prompt, following + HOUR)
    assert [invoice.total for invoice in invoices(prompt)] == [100, 1011]


def test_what_is_received_and_not_yet_aggregated_is_billed(prompt: World) -> None:
    """E10 and E21: previews lag, the final invoice does not; unless the switch says that it does too."""
    made = subscribe(prompt, unit_amount=1)
    _, end = period(made)
    go_to(prompt, end)
    prompt.switch(aggregation_lag_minimum_seconds=3 * HOUR, aggregation_lag_maximum_seconds=3 * HOUR)
    prompt.report("7", timestamp=end - 1)
    go_to(prompt, end + HOUR)
    assert [invoice.total for invoice in invoices(prompt)] == [7]
    prompt.switch(finalization_counts="aggregated")
    following = prompt.stripe.v1.subscriptions.retrieve(made["subscription"]["id"]).to_dict()["items"]["data"][0]["current_period_end"]
    go_to(prompt, following)
    prompt.report("9", timestamp=following - 1)
    go_to(prompt, following + HOUR)
    assert [invoice.total for invoice in invoices(prompt)] == [0, 7]


def test_a_negative_total_is_billed_as_nothing_and_not_carried_over(prompt: World) -> None:
    """Each period floors its own total."""
    made = subscribe(prompt, unit_amount=3)
    start, end = period(made)
    prompt.report("-9", timestamp=start)
    go_to(prompt, end + HOUR)
    (final,) = invoices(prompt)
    assert (final.status, final.total, final.lines.data[0].quantity_decimal) == ("paid", 0, Decimal(0))
    prompt.report("4")
    following = prompt.stripe.v1.subscriptions.retrieve(made["subscription"]["id"]).to_dict()["items"]["data"][0]["current_period_end"]
    go_to(prompt, following + HOUR)
    assert invoices(prompt)[0].total == 12


def test_a_jump_does_each_thing_as_of_its_date(prompt: World) -> None:
    """Whoever looks three months later finds three invoices, each made and finalized on its day."""
    prompt.clock.set_ms(max(instant("2027-01-31T10:17:42"), prompt.clock.now + DAY) * 1000)
    prompt.clock.to_next(DAY)
    made = subscribe(prompt, unit_amount=2)
    start, end = period(made)
    prompt.report("5", timestamp=start)
    prompt.clock.set_ms((end + 70 * DAY) * 1000)
    wait_until_idle(prompt.emulator)
    found = invoices(prompt)[::-1]
    assert [invoice.total for invoice in found] == [10, 0, 0]
    assert found[0].created == end
    assert [invoice.created for invoice in found[1:]] == [invoice.lines.data[0].period.end for invoice in found[1:]]
    assert all(invoice.status_transitions.finalized_at == invoice.created + HOUR for invoice in found)
    assert all(later.lines.data[0].period.start == earlier.created for earlier, later in itertools.pairwise(found))


@pytest.mark.parametrize("grace_hours", [1, 72])
def test_the_grace_is_a_setting(prompt: World, grace_hours: int) -> None:
    """Up to 72 hours."""
    prompt.switch(finalization_grace_seconds=grace_hours * HOUR)
    made = subscribe(prompt)
    _, end = period(made)
    go_to(prompt, end + grace_hours * HOUR - 1)
    assert invoices(prompt)[0].status == "draft"
    go_to(prompt, end + grace_hours * HOUR)
    assert invoices(prompt)[0].status == "paid"


def test_the_clock_is_told_what_lies_ahead(prompt: World) -> None:
    """The street steps from one due date to the next, so each must be announced."""
    made = subscribe(prompt)
    _, end = period(made)
    seen = []
    for _ in range(400):
        due_ms = wait_until_idle(prompt.emulator)["next_due_ms"]
        seen.append(due_ms)
        if due_ms > (end + HOUR) * 1000:
            break
        prompt.clock.set_ms(due_ms)
    assert {end * 1000, (end + HOUR) * 1000} <= set(seen)
    assert invoices(prompt)[0].status == "paid"


def test_webhooks_tell_the_cycle_in_order_and_signed(prompt: World) -> None:
    """Each event once, verified by the SDK, signed at the street's date; and the lists tell the same events."""
    made = subscribe(prompt)
    _, end = period(made)
    with listening(prompt.emulator, enabled_events=CYCLE) as listener:
        go_to(prompt, end)
        go_to(prompt, end + HOUR)
        mine = [event for event in listener.events() if event.data.object["customer"] == prompt.customer]
        assert [event.type for event in mine] == CYCLE
        assert all(heard.signed_at in (end, end + HOUR) for heard in listener.heard)
        for event in mine:
            assert prompt.stripe.v1.events.retrieve(event.id).data.object["id"] == event.data.object["id"]
    assert invoices(prompt)[0].webhooks_delivered_at == end
