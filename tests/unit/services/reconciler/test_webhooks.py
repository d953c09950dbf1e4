"""Stripe's events in every order and any number of times: what they tell is the same."""

from __future__ import annotations

import itertools

import pytest

from services.reconciler.core.webhooks import NOTHING_TOLD, Event, event_of, fold, hinted

CUSTOMER = "cus_acme"
# A period's end as Stripe tells it: four of the six share a second.
SIX = (
    Event("evt_1", "customer.subscription.updated", 1_000, "sub_1", CUSTOMER),
    Event("evt_2", "invoice.created", 1_000, "in_1", CUSTOMER),
    Event("evt_3", "invoice.updated", 2_000, "in_1", CUSTOMER),
    Event("evt_4", "invoice.finalized", 5_000, "in_1", CUSTOMER),
    Event("evt_5", "invoice.paid", 5_000, "in_1", CUSTOMER),
    Event("evt_6", "invoice.payment_succeeded", 5_000, "in_1", CUSTOMER),
)


def test_all_orders_of_six_events_tell_the_same():
    told = {tuple(sorted(fold(NOTHING_TOLD, order).items())) for order in itertools.permutations(SIX)}
    assert len(told) == 1
    ((subscription, invoice),) = [(dict(one)["sub_1"], dict(one)["in_1"]) for one in told]
    assert subscription.type == "customer.subscription.updated"
    assert invoice.event_id == "evt_6", "of one second the one that takes its object furthest"


def test_one_at_a_time_and_twice_is_as_all_at_once():
    at_once = fold(NOTHING_TOLD, SIX)
    for order in itertools.permutations(SIX):
        state = NOTHING_TOLD
        for event in (*order, order[0]):
            state = fold(state, [event])
        assert state == at_once


def test_another_event_id_for_the_same_news_changes_nothing_but_the_id():
    """Stripe may say the same of the same object under two ids."""
    twin = Event("evt_0", "invoice.paid", 5_000, "in_1", CUSTOMER)
    assert fold(NOTHING_TOLD, [*SIX, twin]) == fold(NOTHING_TOLD, [twin, *SIX])


def test_a_deletion_outlasts_what_was_said_in_the_same_second():
    gone = Event("evt_a", "customer.subscription.deleted", 1_000, "sub_1", CUSTOMER)
    for order in itertools.permutations([SIX[0], gone]):
        assert fold(NOTHING_TOLD, order)["sub_1"].type == "customer.subscription.deleted"


def test_only_what_is_about_billing_is_a_hint():
    meter = Event("evt_m", "billing.meter.created", 1, "mtr_1", None)
    customer = Event("evt_c", "customer.updated", 1, "cus_other", "cus_other")
    assert hinted([*SIX, meter, customer]) == {CUSTOMER}


def test_bodies_are_read_as_they_come():
    snapshot = {"id": "evt_1", "type": "invoice.created", "created": 7, "data": {"object": {"id": "in_1", "customer": {"id": CUSTOMER}}}}
    assert event_of(snapshot) == Event("evt_1", "invoice.created", 7_000, "in_1", CUSTOMER)
    about_customer = {"id": "evt_2", "type": "customer.updated", "created": 7, "data": {"object": {"id": CUSTOMER, "object": "customer"}}}
    assert event_of(about_customer).stripe_customer == CUSTOMER
    thin = {"id": "evt_3", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found", "created": "2026-11-01T00:00:00Z"}
    assert event_of(thin) == Event("evt_3", "v1.billing.meter.no_meter_found", 0, None, None)


@pytest.mark.parametrize("odd", [f"{CUSTOMER}\0", "\0", "", "x" * 256, "\ud800", 7, ["x"], {"id": "\0"}, None])
def test_what_can_be_no_id_is_about_nothing(odd: object):
    """A signature says who sent it, not that a database can hold it; and one that it cannot hold would come again for ever."""
    about = {"id": odd, "customer": odd}
    assert event_of({"id": "evt_1", "type": "t", "data": {"object": about}}) == Event("evt_1", "t", 0, None, None)
    customer = {"id": odd, "object": "customer"}
    assert event_of({"id": "evt_1", "type": "t", "data": {"object": customer}}) == Event("evt_1", "t", 0, None, None)
