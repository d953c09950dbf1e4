"""A billing period of the whole street to its paid invoices: Stripe's webhooks through the door, the close, the lines, the money."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import requests

from tests.makers.street_of_test import StreetOfTest
from tests.system.street.conftest import brought_up

VALUES = {("acme", "input_tokens"): (374, 26_000), ("globex", "runs"): (3,), ("globex", "output_tokens"): (149,)}
# The street sells each unit at a hundredth of a cent; a line is rounded once, half a cent upwards.
OWED_CENTS = {("acme", "input_tokens"): 264, ("globex", "runs"): 0, ("globex", "output_tokens"): 1}


@pytest.fixture(scope="module")
def own_street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreetOfTest]:
    """Its month ends, so nobody else can use it."""
    yield from brought_up(tmp_path_factory.mktemp("month"), "simulated")


def send(street: StreetOfTest, count: int, late_hours: int = 0) -> None:
    """Every value, as usage of this moment or of some hours ago."""
    at = street.now() - timedelta(hours=late_hours)
    lines = [
        {"id": f"{count}-{number}", "source": "month", "customer": customer, "meter": meter, "value": value, "time": at.isoformat()}
        for (customer, meter), values in VALUES.items()
        for number, value in enumerate(values)
    ]
    names = [f"{line['id']}-{line['customer']}-{line['meter']}" for line in lines]
    text = "\n".join(json.dumps({**line, "id": name}) for line, name in zip(lines, names, strict=True))
    assert street.trueup("events", "send", "-", stdin=text)["accepted"] == len(lines)


def rows(street: StreetOfTest, query: str) -> list[tuple[Any, ...]]:
    """What the database says."""
    with psycopg.connect(street.said["postgres_dsn"]) as connection:
        return connection.execute(query).fetchall()


def shown(street: StreetOfTest, customer: str) -> dict[str, Any]:
    """What the customer sees of the month that ended."""
    answer = requests.get(
        f"{street.said['usage_url']}/v1/customers/{customer}/usage",
        params={"period": "previous"},
        headers={"Authorization": f"Bearer {street.said['usage_api_key']}"},
        timeout=30,
    )
    told: dict[str, Any] = answer.json()
    assert answer.status_code == 200, told
    return told


@pytest.mark.timeout(600)
def test_a_month_ends_in_paid_invoices_that_are_the_truth(own_street: StreetOfTest) -> None:
    """Units and cents of every line are those that were sent; what comes for the closed month afterwards is a case, not on a bill."""
    street = own_street
    start = street.now()
    street.advance_to(start + timedelta(days=2, seconds=30))
    send(street, 1)
    street.advance_to(start + timedelta(days=33, hours=6))
    send(street, 2, late_hours=6 * 24)
    street.advance_to(street.now() + timedelta(hours=4))

    lines = {
        (customer, meter): (ledger, stripe, expected, billed, status)
        for customer, meter, ledger, stripe, expected, billed, status in rows(
            street,
            "select customer_id, meter, quantity_ledger, quantity_stripe, amount_expected_minor, amount_stripe_minor, status"
            " from finance.invoice_lines where status <> 'preview' and quantity_stripe <> 0",
        )
    }
    assert lines == {
        place: (Decimal(sum(values)), Decimal(sum(values)), OWED_CENTS[place], OWED_CENTS[place], "paid")
        for place, values in VALUES.items()
    }
    totals = dict(
        rows(
            street,
            "select c.customer, i.total_minor from derived.invoice i join derived.stripe_customer c using (stripe_customer)"
            " where i.finalized_at is not null and i.total_minor > 0",
        )
    )
    for customer in ("acme", "globex"):
        told = shown(street, customer)
        owed = {meter: cents for (whose, meter), cents in OWED_CENTS.items() if whose == customer and cents}
        assert (told["total_minor"], told["invoices_disagreeing"]) == (totals[customer], [])
        assert {line["meter"]: line["amount_minor"] for line in told["lines"] if line["amount_minor"]} == owed
        waiting = {meter["meter"]: Decimal(meter["under_review"]) for meter in told["meters"] if meter["under_review"] != "0"}
        assert waiting == {meter: Decimal(sum(values)) for (whose, meter), values in VALUES.items() if whose == customer}
    heard = dict(rows(street, "select type, count(*) from ledger.stripe_event where via = 'webhook' group by 1"))
    assert {"customer.subscription.updated", "invoice.created", "invoice.finalized", "invoice.paid"} <= set(heard)
    ended = rows(
        street, "select distinct status from finance.period_status where period_end <= (select min(period_end) from finance.period_status)"
    )
    assert ended == [("settled",)]
    waiting = rows(street, "select customer_id, meter, sum(quantity) from finance.unbilled_usage where state = 'in_review' group by 1, 2")
    assert {(customer, meter): quantity for customer, meter, quantity in waiting} == {
        place: Decimal(sum(values)) for place, values in VALUES.items()
    }
    assert rows(street, "select count(*) from finance.review_queue where status = 'open'")[0][0] >= len(VALUES)
    assert {row["status"] for row in street.trueup("prove", "--deep")} <= {"ok", "empty"}
