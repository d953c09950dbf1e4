"""Periods from subscriptions: months of every length, any second, and nothing that the calendar does not explain."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.reconciler.core.timeline import Item, Subscription, anniversary_ms, facts_of


def at(text: str) -> int:
    """Milliseconds of an instant in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


def subscription(start: str, period: tuple[str, str], *, anchor: str | None = None, ended: str | None = None) -> Subscription:
    """One item, monthly."""
    item = Item("si_1", at(start), "price_1", "mtr_1", "usd", "month", 1, at(period[0]), at(period[1]))
    return Subscription(
        "sub_1", "cus_1", "active", at(start), at(start), at(anchor or start), None if ended is None else at(ended), ("price_1",), (item,)
    )


def spans(found: Subscription, since: str = "2000-01-01") -> list[tuple[int, int]]:
    """The periods that become facts."""
    return [(fact.start_ms, fact.end_ms) for fact in facts_of(found, {"mtr_1": "tokens"}, "basic", at(since))]


def test_months_of_28_to_31_days_end_where_the_calendar_says():
    """The last day of a month stands in for one it does not have, and the anchor's own day comes back."""
    edges = ["2027-12-31", "2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31"]
    found = spans(subscription(edges[0], (edges[-2], edges[-1])))
    assert found == [(at(start), at(end)) for start, end in itertools.pairwise(edges)]
    assert {(end - start) // 86_400_000 for start, end in found} == {29, 30, 31}
    edges = ["2026-12-31", "2027-01-31", "2027-02-28", "2027-03-31"]
    assert [(end - start) // 86_400_000 for start, end in spans(subscription(edges[0], (edges[-2], edges[-1])))] == [31, 28, 31]


def test_a_period_begins_at_any_second():
    found = spans(subscription("2026-09-03T10:17:42", ("2026-10-03T10:17:42", "2026-11-03T10:17:42")))
    assert found[0] == (at("2026-09-03T10:17:42"), at("2026-10-03T10:17:42"))


def test_the_first_period_is_as_short_as_the_anchor_makes_it():
    found = spans(subscription("2026-09-20T08:00:00", ("2026-10-01", "2026-11-01"), anchor="2026-10-01"))
    assert found == [(at("2026-09-20T08:00:00"), at("2026-10-01")), (at("2026-10-01"), at("2026-11-01"))]


def test_a_cancelled_subscription_ends_its_period():
    found = spans(subscription("2026-10-01", ("2026-10-01", "2026-11-01"), ended="2026-10-12T03:04:05"))
    assert found == [(at("2026-10-01"), at("2026-10-12T03:04:05"))]


def test_what_no_calendar_explains_is_taken_as_it_is_and_nothing_is_guessed_before_it():
    assert spans(subscription("2026-01-01", ("2026-10-05", "2026-10-19"))) == [(at("2026-10-05"), at("2026-10-19"))]


def test_an_item_added_later_has_no_periods_from_before():
    found = subscription("2026-01-01", ("2026-10-01", "2026-11-01"))
    added = replace(found, items=(replace(found.items[0], created_ms=at("2026-09-10")),))
    assert spans(added) == [(at("2026-10-01"), at("2026-11-01"))]


def test_an_item_added_later_misses_no_period_since_it_is_known():
    """Nobody looked for two months."""

    def added(period: tuple[str, str]) -> Subscription:
        found = subscription("2026-01-01", period)
        return replace(found, items=(replace(found.items[0], created_ms=at("2026-09-10")),))

    held = {"si_1": facts_of(added(("2026-09-10", "2026-10-01")), {"mtr_1": "tokens"}, "basic", at("2000-01-01"))}
    found = facts_of(added(("2026-12-01", "2027-01-01")), {"mtr_1": "tokens"}, "basic", at("2000-01-01"), held)
    assert [fact.start_ms for fact in found] == [at(f"2026-{month}-01") for month in (10, 11, 12)]


def test_old_periods_are_left_alone():
    assert spans(subscription("2020-01-01", ("2026-10-01", "2026-11-01")), "2026-08-15")[0][0] == at("2026-08-01")


def test_an_item_without_a_meter_of_ours_is_no_fact():
    assert facts_of(subscription("2026-01-01", ("2026-10-01", "2026-11-01")), {}, None, 0) == []


@pytest.mark.parametrize(
    ("interval", "count", "expected"), [("day", 10, "2026-01-11"), ("week", 2, "2026-01-15"), ("year", 1, "2027-01-01")]
)
def test_other_intervals(interval: str, count: int, expected: str):
    assert anniversary_ms(at("2026-01-01"), interval, count, 1) == at(expected)


def test_a_period_that_begins_inside_a_known_one_ends_it_there_and_invents_none():
    """The billing anchor was moved to the 11th: Stripe makes an invoice then, of what had begun on the 1st."""
    before = subscription("2026-08-01", ("2026-10-01", "2026-11-01"))
    held = {"si_1": facts_of(before, {"mtr_1": "tokens"}, "basic", at("2000-01-01"))}
    moved = replace(
        subscription("2026-08-01", ("2026-10-11", "2026-11-11"), anchor="2026-10-11"),
        items=(replace(before.items[0], price_id="price_2", period_start_ms=at("2026-10-11"), period_end_ms=at("2026-11-11")),),
    )
    found = facts_of(moved, {"mtr_1": "tokens"}, "pro", at("2000-01-01"), held)
    assert [(fact.start_ms, fact.end_ms, fact.price_id, fact.plan) for fact in found] == [
        (at("2026-10-01"), at("2026-10-11"), "price_1", "basic"),
        (at("2026-10-11"), at("2026-11-11"), "price_2", "pro"),
    ]


def test_what_is_over_keeps_its_price_when_the_item_gets_another():
    before = subscription("2026-08-01", ("2026-09-01", "2026-10-01"))
    held = {"si_1": facts_of(before, {"mtr_1": "tokens"}, "basic", at("2000-01-01"))}
    later = subscription("2026-08-01", ("2026-11-01", "2026-12-01"))
    swapped = replace(later, items=(replace(later.items[0], price_id="price_2"),))
    found = facts_of(swapped, {"mtr_1": "tokens"}, "pro", at("2000-01-01"), held)
    assert [(fact.start_ms, fact.price_id) for fact in found] == [(at("2026-10-01"), "price_2"), (at("2026-11-01"), "price_2")]


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (("2027-02-15", "2027-03-15"), [("2027-02-01", "2027-02-15"), ("2027-02-15", "2027-03-15")]),
        (("2027-03-15", "2027-04-15"), [("2027-02-01", "2027-02-15"), ("2027-02-15", "2027-03-15"), ("2027-03-15", "2027-04-15")]),
        (("2027-02-01", "2027-02-15"), [("2027-02-01", "2027-02-15")]),
    ],
)
def test_no_period_reaches_back_over_what_is_known(current: tuple[str, str], expected: list[tuple[str, str]]):
    """The anchor was moved to the 15th while nobody looked: usage of January belongs to January alone."""
    before = subscription("2027-01-01", ("2027-01-01", "2027-02-01"))
    held = {"si_1": facts_of(before, {"mtr_1": "tokens"}, "basic", at("2000-01-01"))}
    moved = subscription("2027-01-01", current, anchor="2027-02-15")
    found = facts_of(moved, {"mtr_1": "tokens"}, "basic", at("2000-01-01"), held)
    assert [(fact.start_ms, fact.end_ms) for fact in found] == [(at(start), at(end)) for start, end in expected]
