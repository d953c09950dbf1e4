"""A small month on the whole street, through the `trueup` command and public URLs only, held against an oracle.

The oracle is a few lines over the files that were sent; neither it nor this test imports anything of the pipeline.
"""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from tests.makers.street_of_test import StreetOfTest, call

SEED = 11
CUSTOMERS = ("acme", "globex", "initech")
WINDOW = timedelta(minutes=45)
ACCEPTED_BELOW = 100

Line = dict[str, Any]


def usage(start: datetime, count: int, draw: random.Random) -> list[Line]:
    """Usage of one window, as a service states it."""
    meters = ("input_tokens", "output_tokens", "runs")
    return [
        {
            "id": f"{start:%d%H%M}-{number}",
            "source": draw.choice(("inference", "agents")),
            "customer": draw.choice(CUSTOMERS),
            "meter": draw.choice(meters),
            "value": draw.randint(1, 900),
            "time": (start + timedelta(seconds=draw.randrange(300))).isoformat(),
        }
        for number in range(count)
    ]


def send(street: StreetOfTest, folder: Path, name: str, lines: list[Line], answer: int = 0) -> Any:
    """Writes a file and publishes it."""
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return street.trueup("events", "send", str(file), answer=answer)


def oracle(sent: list[tuple[datetime, Line]]) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """Per customer and meter: what is on time and what is late. The first delivery of an id counts, any other does not."""
    on_time: Counter[tuple[str, str]] = Counter()
    late: Counter[tuple[str, str]] = Counter()
    seen = set()
    for arrival, line in sent:
        if (line["source"], line["id"]) in seen:
            continue
        seen.add((line["source"], line["id"]))
        window = timedelta(hours=1) if line["meter"] == "runs" else WINDOW
        beyond = arrival - datetime.fromisoformat(line["time"]) > window
        # The catalogue of the street accepts late usage below 100 while its period's deadline is ahead.
        side = late if beyond and abs(int(line["value"])) >= ACCEPTED_BELOW else on_time
        side[line["customer"], line["meter"]] += int(line["value"])
    return on_time, late


def stripe_place(customer: str, meter: str) -> tuple[str, str]:
    """Where a customer's meter stands at Stripe, all three being on plan basic."""
    return f"cus_{customer}", "runs_basic" if meter == "runs" else meter


@pytest.mark.timeout(600)
def test_a_small_month_ends_where_the_oracle_says(street: StreetOfTest, tmp_path: Path) -> None:
    """Duplicates at once and after 25 h and 49 h, a conflict, late usage, refunds, refused lines, an unkind Stripe: exact to the unit."""
    draw = random.Random(SEED)
    begin = street.now() + timedelta(hours=6)
    join_initech(street, tmp_path)
    faults = [
        {"path": "/v1/billing/meter_events", "kind": kind, "count": 2}
        for kind in ("429", "500_after", "drop_after", "500_before", "drop_before")
    ]
    requests.post(f"{street.said['stripe_url']}/_emulator/faults", json=faults, timeout=30).raise_for_status()

    sent: list[tuple[datetime, Line]] = []

    def deliver(at: datetime, name: str, lines: list[Line]) -> None:
        street.advance_to(at)
        assert send(street, tmp_path, name, lines) == {"accepted": len(lines), "refused": []}
        sent.extend((at, line) for line in lines)

    first = usage(begin, 300, draw)
    refund = {**first[0], "id": "refund:1", "value": -int(first[0]["value"]), "reason": "failed_run", "corrects": first[0]["id"]}
    deliver(begin + timedelta(minutes=5, seconds=30), "first", [*first, refund, *first[:40]])
    conflict = {**first[1], "value": int(first[1]["value"]) + 1}
    late = usage(begin + timedelta(minutes=5), 12, draw)
    deliver(begin + timedelta(minutes=70, seconds=30), "late-and-conflict", [*late, conflict])
    deliver(begin + timedelta(hours=25, minutes=5), "after-25-hours", first[40:80])
    second = usage(begin + timedelta(hours=30), 200, draw)
    deliver(begin + timedelta(hours=30, minutes=5, seconds=30), "second", second)
    deliver(begin + timedelta(hours=49, minutes=5), "after-49-hours", first[80:120])
    street.advance_to(begin + timedelta(hours=60))

    on_time, late_totals = oracle(sent)
    expected = {stripe_place(*place): Decimal(quantity) for place, quantity in on_time.items()}
    ours = {f"cus_{customer}" for customer in CUSTOMERS}
    assert {place: value for place, value in street.books().items() if value and place[0] in ours} == expected
    assert_ledger(street, on_time, late_totals)
    rows = [row for row in street.trueup("reconcile") if row["customer_id"] in CUSTOMERS]
    assert {row["explanation"] for row in rows} == {"agrees"}
    assert sum(Decimal(row["quantity_stripe"]) for row in rows) == sum(on_time.values())
    assert {row["status"] for row in street.trueup("prove")} <= {"ok", "empty"}
    assert_lives(street, first, late)


def join_initech(street: StreetOfTest, folder: Path) -> None:
    """A third customer comes later: a Stripe customer with a subscription, mapped from a CSV."""
    doors = f"{street.said['stripe_url']}/_emulator"
    since = int((street.now() - timedelta(days=1)).timestamp())
    prices = [{"price": price} for price in ("price_basic_runs", "price_input_tokens", "price_output_tokens")]
    wish = {"id": "sub_initech", "customer": "cus_initech", "items": prices, "backdate_start_date": since}
    requests.post(f"{doors}/customers", json={"id": "cus_initech"}, timeout=30).raise_for_status()
    requests.post(f"{doors}/subscriptions", json=wish, timeout=30).raise_for_status()
    file = folder / "customers.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as text:
        csv.writer(text).writerows([["customer", "stripe_customer"], ["initech", "cus_initech"], []])
    assert street.trueup("customers", "import", str(file), "--reason", "new customer", "--yes")["mapped"] == 1
    assert [row["stripe_customer"] for row in street.trueup("customers", "list", "initech")] == ["cus_initech"]


def assert_ledger(street: StreetOfTest, on_time: Counter[tuple[str, str]], late: Counter[tuple[str, str]]) -> None:
    """The ledger's own views, in SQL, as finance reads them."""
    with psycopg.connect(street.said["finance_dsn"]) as connection:
        used = connection.execute("select customer_id, meter, sum(quantity) from finance.usage_by_customer_day group by 1, 2").fetchall()
        review = connection.execute(
            "select customer_id, meter, sum(quantity) from finance.unbilled_usage where state = 'in_review' group by 1, 2"
        ).fetchall()
    assert by_place(used) == dict(on_time + late)
    assert by_place(review) == dict(late)


def by_place(rows: list[tuple[Any, ...]]) -> dict[tuple[str, str], int]:
    """What this test's customers have, per customer and meter."""
    return {(customer, meter): int(quantity) for customer, meter, quantity in rows if quantity and customer in CUSTOMERS}


def assert_lives(street: StreetOfTest, first: list[Line], late: list[Line]) -> None:
    """`events explain` tells of each delivery what became of it, also of those that the dedupe room dropped."""

    def fates(line: Line) -> list[str]:
        rows = street.trueup("events", "explain", line["source"], line["id"])
        assert any(row["step"] == "summarized" for row in rows) or line in late
        return [row["outcome"] for row in rows if row["step"] == "delivered"]

    assert fates(first[2]) == ["captured", "dropped"]
    assert fates(first[1]) == ["captured", "dropped", "conflict"]
    assert fates(first[50]) == ["captured", "dropped"]
    assert fates(first[90]) == ["captured", "duplicate"]
    assert fates(first[200]) == ["captured"]
    assert fates(late[0]) == ["captured_late"]
    nobody = call(street.environment, "events", "explain", "inference", "never-sent")
    assert nobody.returncode == 1


def test_refused_lines_are_named_and_the_others_published(street: StreetOfTest) -> None:
    """Per line, with the reason, from stdin; exit 1 says that not all was taken."""
    now = street.now().isoformat()
    good = {"id": "stdin-1", "source": "inference", "customer": "acme", "meter": "input_tokens", "value": 0, "time": now}
    text = "\n".join(
        ["nonsense", json.dumps(good), json.dumps({**good, "id": "stdin-2", "value": 1.5}), json.dumps({**good, "meter": "x"})]
    )
    said = street.trueup("events", "send", "-", answer=1, stdin=text)
    assert said["accepted"] == 1
    assert [(row["line"], row["reason"]) for row in said["refused"]] == [(1, "undecodable"), (3, "bad_field"), (4, "unknown_meter")]


def test_up_again_changes_nothing_and_status_names_the_parts(street: StreetOfTest) -> None:
    """`up` is idempotent; `status` has a healthy line for every part."""
    rows = street.trueup("status")
    assert {row["name"] for row in rows} >= {"kafka", "postgres", "stripe-emulator", "dedupe-1", "stripe-sink-1", "reconciler"}
    assert all(row["healthy"] for row in rows)
    assert street.trueup("up", "--clock", "simulated") == street.said
    assert street.trueup("topics", "plan") == []
    assert street.trueup("stripe", "status")["armed"] is True
