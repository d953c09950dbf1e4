"""The verbs that change something, on a running street: what they answer, and what is different afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from confluent_kafka import Producer

from tests.makers.street_of_test import StreetOfTest, call
from trueup.contracts.codec import Framing, encode_event
from trueup.contracts.events import UsageEvent

EXAMPLE = Path(__file__).parents[3] / "deploy" / "catalogue.example.toml"
IMAGES = '\n[meter.images]\nunit = "image"\nbilling_window = "PT30M"\nstripe_event_name = "images"\n'
WINDOW = timedelta(minutes=5)
# An id's term is the first 48 bits of the identity that stands in the ledger.
DROPPED_IN_ITS_BATCH = """
select s.duplicate_events, s.duplicate_quantity, s.duplicate_id_sum - ('x' || left(replace(e.identity::text, '-', ''), 12))::bit(48)::bigint
from ledger.source_batch s, ledger.event e
where s.source_partition = %s and %s between s.first_offset and s.next_offset - 1 and e.id = %s
"""
CONFLUENT_ID = 1  # under which the street's rooms know our schema in the registry's framing


@pytest.fixture
def customer(street: StreetOfTest, request: pytest.FixtureRequest) -> str:
    """A customer of the test's own, with a Stripe customer of the same name, mapped."""
    name = request.node.name.removeprefix("test_")[:40]
    requests.post(f"{street.said['stripe_url']}/_emulator/customers", json={"id": f"cus_{name}"}, timeout=30).raise_for_status()
    said = street.trueup("customers", "map", name, f"cus_{name}", "--reason", "a test's own", "--yes")
    assert said["new"] is True
    return name


def line(street: StreetOfTest, customer: str, number: int, **changes: Any) -> str:
    """A right line of this moment."""
    whole = {"id": f"{customer}-{number}", "source": "verbs", "customer": customer, "meter": "input_tokens", "value": 10}
    return json.dumps({**whole, "time": street.now().isoformat(), **changes})


def at_rest_after_the_cut(street: StreetOfTest) -> datetime:
    """Past the present window's cut, with every room idle."""
    street.advance_to(street.now() + 2 * WINDOW)
    return street.now()


def test_a_new_catalogue_reaches_every_room_only_when_all_is_said(street: StreetOfTest, tmp_path: Path) -> None:
    """A reason, a yes, and the Stripe meter it needs; a meter's unit never changes."""
    file = tmp_path / "catalogue.toml"
    text = EXAMPLE.read_text()
    file.write_text(text)
    assert street.trueup("catalogue", "apply", str(file)) == {"version": 1, "appended": False, "meters_created": []}
    file.write_text(text + IMAGES)
    plan = street.trueup("catalogue", "plan", str(file))
    assert {row["what"].split(".")[1] for row in plan["changes"]} == {"images"}
    assert [meter["state"] for meter in plan["stripe_meters"] if meter["meter"] == "images"] == ["missing"]

    def apply(*more: str, answer: int) -> str:
        done = call(street.environment, "catalogue", "apply", str(file), *more)
        assert done.returncode == answer, done.stderr
        return done.stderr

    assert "--reason" in apply("--yes", answer=2)
    assert "--yes" in apply("--reason", "images are sold", answer=2)
    assert "--create-in-stripe" in apply("--reason", "images are sold", "--yes", answer=1)
    refusals = [{"path": "/v1/billing/meters", "method": "POST", "kind": "429", "count": 1}]
    requests.post(f"{street.said['stripe_url']}/_emulator/faults", json=refusals, timeout=30).raise_for_status()
    assert "did not create the meter images" in apply("--reason", "images are sold", "--yes", "--create-in-stripe", answer=2)
    said = street.trueup("catalogue", "apply", str(file), "--reason", "images are sold", "--yes", "--create-in-stripe")
    assert (said["version"], said["appended"], len(said["meters_created"])) == (2, True, 1)
    for room, url in street.said["metrics"].items():
        shown = [row.split()[-1] for row in requests.get(url, timeout=30).text.splitlines() if row.startswith("trueup_catalogue_version")]
        assert all(float(value) == 2 for value in shown), room
    file.write_text(text.replace('unit = "run"', 'unit = "job"'))
    assert "unit" in apply("--reason", "renamed", "--yes", answer=1)


def test_disarmed_usage_waits_and_goes_out_when_armed(street: StreetOfTest, customer: str) -> None:
    """Both acts are recorded with their reason; nothing is lost between them."""
    place = (f"cus_{customer}", "input_tokens")
    street.trueup("stripe", "disarm", "--reason", "a pause", "--yes")
    try:
        assert "a pause" in street.trueup("stripe", "status", answer=1)["why"]
        assert street.trueup("events", "send", "-", stdin=line(street, customer, 1))["accepted"] == 1
        at_rest_after_the_cut(street)
        assert place not in street.books()
    finally:
        armed = street.trueup("stripe", "arm", "--reason", "the pause is over", "--yes")
    assert armed["armed"] is True
    at_rest_after_the_cut(street)
    assert street.books()[place] == Decimal(10)
    assert street.trueup("stripe", "status")["armed"] is True


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("stripe", "arm", "--customer", "acmee", "--reason", "a slip", "--yes"), 2),
        (("stripe", "disarm", "--customer", "acmee", "--reason", "a slip", "--yes"), 2),
        (("period", "show", "acmee"), 1),
        (("reconcile", "--customer", "acmee"), 1),
    ],
)
def test_a_misspelt_customer_is_said_to_be_nobody(street: StreetOfTest, arguments: tuple[str, ...], answer: int) -> None:
    done = call(street.environment, *arguments)
    assert done.returncode == answer, done.stderr
    assert "acmee" in done.stderr


def test_refused_bytes_are_listed_with_their_reason_and_shown_as_they_came(street: StreetOfTest, customer: str, tmp_path: Path) -> None:
    """Also those over 64 KiB, which stand on the rejected topic only."""
    garbage = b"\xffno event of " + customer.encode()
    large = b"\xc3\x01" + bytes(65_535)
    producer = Producer({"bootstrap.servers": street.said["kafka_bootstrap"], "partitioner": "murmur2_random"})
    for value in (garbage, large):
        producer.produce("usage.events.v1", value=value, key=customer.encode(), timestamp=int(street.now().timestamp() * 1000))
    assert producer.flush(30) == 0
    at_rest_after_the_cut(street)
    rows = street.trueup("rejected", "list", "--limit", "2")
    assert {(row["reason"], row["record_bytes"]) for row in rows} == {("undecodable", len(garbage)), ("too_large", len(large))}
    for row in rows:
        raw = tmp_path / "record.bin"
        shown = street.trueup("rejected", "show", f"{row['source_partition']}:{row['source_offset']}", "--raw", str(raw))
        expected = garbage if row["reason"] == "undecodable" else large
        assert raw.read_bytes() == expected
        assert bytes.fromhex(shown["record_hex"]) == expected
    assert street.trueup("rejected", "list", "--reason", "unknown_meter", "--customer", customer) == []


def test_refused_events_are_sent_again_once_their_cause_is_mended(street: StreetOfTest, customer: str, tmp_path: Path) -> None:
    """A meter that nobody had declared: the bytes that were refused count after it was, once however often they are sent."""
    now_ms = int(street.now().timestamp() * 1000)
    value = encode_event(UsageEvent(f"{customer}-1", "verbs", now_ms, "audio", customer, 7, None, None, {}))
    producer = Producer({"bootstrap.servers": street.said["kafka_bootstrap"], "partitioner": "murmur2_random"})
    headers = [("trace", b"kept"), ("trueup-arrival", b"not ours")]
    producer.produce("usage.events.v1", value=value, key=customer.encode(), timestamp=now_ms, headers=headers)
    assert producer.flush(30) == 0
    at_rest_after_the_cut(street)
    (refused,) = street.trueup("rejected", "list", "--reason", "unknown_meter", "--customer", customer)
    place = f"{refused['source_partition']}:{refused['source_offset']}"
    redrive = ("rejected", "redrive", place, "--reason", "the meter is declared now")
    assert "say --yes" in call(street.environment, *redrive).stderr

    file = tmp_path / "catalogue.toml"
    audio = '\n[meter.audio]\nunit = "second"\nbilling_window = "PT40M"\nstripe_event_name = "audio"\n'
    file.write_text(EXAMPLE.read_text() + IMAGES + audio)
    street.trueup("catalogue", "apply", str(file), "--create-in-stripe", "--reason", "audio is sold", "--yes")
    street.advance_to(street.now() + timedelta(minutes=2))
    assert street.trueup(*redrive, "--yes") == {"sent": 1, "left": []}
    street.advance_to(street.now() + timedelta(seconds=1))
    assert street.trueup(*redrive, "--yes")["sent"] == 1
    at_rest_after_the_cut(street)
    # What counts by now is said to, and is not sent again with the others.
    assert refused["counted_at"] is None
    (counts,) = street.trueup("rejected", "list", "--customer", customer)
    assert counts["counted_at"] is not None
    call(street.environment, "rejected", "redrive", "--refused-as", "unknown_meter", "--reason", "all of them", "--yes")
    at_rest_after_the_cut(street)
    steps = street.trueup("events", "explain", "verbs", f"{customer}-1")
    assert [row["outcome"] for row in steps if row["step"] == "delivered"] == ["refused", "captured", "dropped"]
    assert street.books()[f"cus_{customer}", "audio"] == Decimal(7)


def test_the_doctor_finds_nothing_wrong_with_a_street_and_names_what_is(street: StreetOfTest) -> None:
    """Topics, ledger, Stripe's account and meters, the grace of each meter; then with a key that Stripe does not know."""
    found = {row["what"]: row for row in street.trueup("doctor")}
    assert {row["state"] for row in found.values()} <= {"ok", "advice"}, found
    assert {"kafka", "clock beside Stripe", "webhooks", "finalization grace at Stripe"} <= set(found)
    assert {"topics", "ledger", "Stripe account", "meter runs as runs_pro", "finalization grace for runs"} <= set(found)
    assert "***" in found["setting stripe_api_key"]["says"]
    named = {
        "TRUEUP_KAFKA_BOOTSTRAP": street.said["kafka_bootstrap"],
        "TRUEUP_POSTGRES_DSN": street.said["postgres_dsn"],
        "TRUEUP_STRIPE_URL": street.said["stripe_url"],
        "TRUEUP_STRIPE_API_KEY": "sk_test_of_nobody",
    }
    sick = call({**street.environment, **named}, "doctor", "--json")
    assert sick.returncode == 1
    wrong = {row["what"] for row in json.loads(sick.stdout) if row["state"] == "wrong"}
    assert "stripe" in wrong and "ledger" not in wrong


def test_each_kind_of_trouble_is_told_by_explain_and_stands_in_sql(street: StreetOfTest, customer: str) -> None:
    """A conflict in one batch, a duplicate over two partitions, a refund without a reason, usage older than the horizon, a broken tail."""
    now_ms = int(street.now().timestamp() * 1000)

    def event(id_: str, quantity: int = 5, age_ms: int = 60_000) -> bytes:
        return encode_event(UsageEvent(f"{customer}-{id_}", "verbs", now_ms - age_ms, "input_tokens", customer, quantity, None, None, {}))

    records = [
        (0, event("twofold")),
        (0, event("twofold", quantity=6)),
        (1, event("elsewhere")),
        (2, event("elsewhere")),
        (0, event("twice")),
        (0, event("twice")),
        (0, event("negative", quantity=-5)),
        (0, event("old", age_ms=36 * 86_400_000)),
        (0, event("tail") + b"\x00"),
        (1, event("strange")[:2] + bytes(8) + event("strange")[10:]),
        (2, event("large") + bytes(65_536)),
    ]
    producer = Producer({"bootstrap.servers": street.said["kafka_bootstrap"]})
    for partition, value in records:
        producer.produce("usage.events.v1", value=value, key=customer.encode(), partition=partition, timestamp=now_ms)
    assert producer.flush(30) == 0
    at_rest_after_the_cut(street)

    def deliveries(id_: str) -> list[dict[str, Any]]:
        rows = street.trueup("events", "explain", "verbs", f"{customer}-{id_}")
        return [row for row in rows if row["step"] == "delivered"]

    assert [row["outcome"] for row in deliveries("twofold")] == ["captured", "conflict"]
    assert sorted(row["outcome"] for row in deliveries("elsewhere")) == ["captured", "duplicate"]
    assert [row["outcome"] for row in deliveries("twice")] == ["captured", "dropped"]
    assert [row["outcome"] for row in deliveries("old")] == ["captured_late"]
    (refused,) = deliveries("negative")
    assert (refused["outcome"], "negative_without_reason" in refused["detail"]) == ("refused", True)
    for id_, reason in (("tail", "undecodable"), ("strange", "unknown_schema"), ("large", "too_large")):
        told = street.trueup("events", "explain", "verbs", f"{customer}-{id_}")
        assert [(row["step"], row.get("outcome")) for row in told] == [("delivered", "refused"), ("refused", None)]
        assert all(reason in row["detail"] for row in told)
        assert "read from the front of a record that was refused" in told[0]["detail"]
    again = deliveries("twice")[1]
    partition, offset = map(int, re.findall(r"partition (\d+), offset (\d+)", again["detail"])[0])
    with psycopg.connect(street.said["postgres_dsn"]) as connection:
        counted = connection.execute(DROPPED_IN_ITS_BATCH, [partition, offset, f"{customer}-twice"]).fetchall()
    # No other delivery of that batch was dropped, so that what stands there is this one.
    assert [tuple(map(int, row)) for row in counted] == [(1, 5, 0)]
    with psycopg.connect(street.said["finance_dsn"]) as connection:
        states = connection.execute("select state, quantity from finance.unbilled_usage where customer_id = %s", [customer]).fetchall()
        kinds = connection.execute("select kind from finance.review_queue where customer_id = %s", [customer]).fetchall()
    assert sorted((state, int(quantity)) for state, quantity in states) == [("acknowledged_not_invoiced", 15), ("in_review", 5)]
    assert len(kinds) == 2


def test_a_csv_is_moved_to_end_now_and_spread_over_customers(street: StreetOfTest, tmp_path: Path) -> None:
    """Whatever a spreadsheet made of it: byte order mark, CRLF, quotes, blank lines, seven decimals of a second."""
    file = tmp_path / "requests.csv"
    rows = ["at,tokens", "", '"2023-11-16 18:15:46.6805900","374"', "2023-11-16 18:16:50.9951690,26", "2023-11-16 18:16:51,x", ""]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    options = ("--map", "time=at,meter:input_tokens=tokens", "--customers", "2", "--shift", "--source", "requests")
    said = street.trueup("events", "send", str(file), *options, answer=1)
    assert said["accepted"] == 2
    assert [(row["line"], row["reason"]) for row in said["refused"]] == [(5, "bad_field")]
    at_rest_after_the_cut(street)
    newest = street.trueup("events", "explain", "requests", "requests.csv:2:input_tokens")
    assert [row["outcome"] for row in newest if row["step"] == "delivered"] == ["captured"]
    assert any("event time" in row["detail"] and "2023" not in row["detail"] for row in newest if row["step"] == "arrived")


def test_a_stripe_customer_belongs_to_one_customer(street: StreetOfTest, customer: str) -> None:
    """The second claim is refused with the owner's name; saying the same again changes nothing."""
    again = street.trueup("customers", "map", customer, f"cus_{customer}", "--reason", "again", "--yes")
    assert again["new"] is False
    thief = call(street.environment, "customers", "map", "somebody", f"cus_{customer}", "--reason", "mine", "--yes")
    assert thief.returncode == 1
    assert customer in thief.stderr


def test_usage_of_who_is_never_billed_goes_nowhere(street: StreetOfTest) -> None:
    """The rooms waive it as it comes, the door refuses the mapping, and Stripe hears of nothing."""
    said = street.trueup("customers", "never-bill", "tester", "--reason", "our own tests", "--yes")
    assert said == {"customer": "tester", "never_billed": True, "new": True}
    bearer = {"Authorization": f"Bearer {street.said['ingest_api_key']}"}
    door = f"{street.said['ingest_url']}/v1/customers/tester"
    told = requests.put(door, json={"stripe_customer": "cus_tester"}, headers=bearer, timeout=30)
    assert (told.status_code, told.headers["content-type"]) == (409, "application/problem+json")
    assert "tester is never billed" in told.json()["detail"]
    assert street.trueup("events", "send", "-", stdin=line(street, "tester", 1))["accepted"] == 1
    at_rest_after_the_cut(street)
    steps = street.trueup("events", "explain", "verbs", "tester-1")
    assert [row["detail"].partition(";")[0] for row in steps if row["step"] == "posted"] == ["usage to waived (never_billed)"]
    with psycopg.connect(street.said["finance_dsn"]) as connection:
        assert connection.execute("select * from finance.unbilled_usage where customer_id = 'tester'").fetchall() == []
        used = connection.execute("select sum(quantity) from finance.usage_by_customer_day where customer_id = 'tester'").fetchone()
    assert used == (10,)
    assert "cus_tester" not in {stripe_customer for stripe_customer, _meter in street.books()}


def test_migrating_again_changes_nothing(street: StreetOfTest) -> None:
    """And the proof still holds."""
    first, second = (street.trueup("migrate") for _ in range(2))
    assert first == second
    assert {row["status"] for row in street.trueup("prove")} <= {"ok", "empty", "pending"}


def test_two_deliveries_of_one_identity_are_told_wherever_they_met(street: StreetOfTest, customer: str) -> None:
    """Over two partitions, in the other framing, after a restart, 25 h later, and 49 h later, when only the ledger remembers."""
    happened_ms = int(street.now().timestamp() * 1000) - 60_000
    producer = Producer({"bootstrap.servers": street.said["kafka_bootstrap"]})

    def send(id_: str, quantity: int, partition: int = 0, framing: Framing = Framing.SINGLE_OBJECT) -> None:
        event = UsageEvent(f"{customer}-{id_}", "verbs", happened_ms, "input_tokens", customer, quantity, None, None, {"model": "m1"})
        value = encode_event(event, framing, CONFLUENT_ID)
        producer.produce("usage.events.v1", value, customer.encode(), partition=partition, timestamp=int(street.now().timestamp() * 1000))
        assert producer.flush(30) == 0

    for id_ in ("partition", "framing", "restart", "25h", "49h"):
        send(f"{id_}-same", 5)
        send(f"{id_}-other", 5)
    send("partition-same", 5, partition=1)
    send("partition-other", 6, partition=1)
    send("framing-same", 5, framing=Framing.CONFLUENT)
    send("framing-other", 6, framing=Framing.CONFLUENT)
    at_rest_after_the_cut(street)
    for row in street.trueup("status"):
        if row["name"].startswith("dedupe"):
            os.kill(row["pid"], signal.SIGKILL)
    send("restart-same", 5)
    send("restart-other", 6)
    at_rest_after_the_cut(street)
    for hours, id_ in ((25, "25h"), (24, "49h")):
        street.advance_to(street.now() + timedelta(hours=hours))
        send(f"{id_}-same", 5)
        send(f"{id_}-other", 6)
        at_rest_after_the_cut(street)

    def outcomes(id_: str) -> list[str]:
        rows = street.trueup("events", "explain", "verbs", f"{customer}-{id_}")
        return sorted(row["outcome"] for row in rows if row["step"] == "delivered")

    for id_ in ("partition", "framing", "restart", "25h", "49h"):
        # The room drops what it remembers; what it does not, or cannot see over two partitions, is the ledger's.
        assert outcomes(f"{id_}-same") in (["captured", "dropped"], ["captured", "duplicate"]), id_
        assert outcomes(f"{id_}-other") == ["captured", "conflict"], id_
    forgotten = street.trueup("events", "explain", "verbs", f"{customer}-49h-same")
    assert any("the ledger knew" in row["detail"] for row in forgotten)
    remembered = street.trueup("events", "explain", "verbs", f"{customer}-25h-same")
    assert any("the dedupe room remembered" in row["detail"] for row in remembered)
    with psycopg.connect(street.said["finance_dsn"]) as connection:
        ((usage, events),) = connection.execute(
            "select sum(quantity), sum(event_count) from finance.usage_by_customer_day where customer_id = %s", [customer]
        ).fetchall()
        conflicts = connection.execute(
            "select kind, sum(quantity) from finance.review_queue where customer_id = %s group by kind", [customer]
        ).fetchall()
    assert (int(usage), int(events)) == (50, 10)
    assert [(kind, int(quantity)) for kind, quantity in conflicts] == [("conflict", 5 * 6)]
    assert street.books()[f"cus_{customer}", "input_tokens"] == 50
    street.trueup("prove")


def test_a_billing_period_is_shown_and_previewed_to_the_minor_unit(street: StreetOfTest) -> None:
    """As the contract's views have it; what Stripe would invoice now is what its quantity costs."""
    assert street.trueup("events", "send", "-", stdin=line(street, "globex", 1, value=700))["accepted"] == 1
    at_rest_after_the_cut(street)
    street.advance_to(street.now() + timedelta(hours=2))
    shown = street.trueup("period", "show", "globex")
    assert {"customer_id", "subscription_item_id", "meter", "period_start", "period_end", "status", "deadline", "provable"} <= set(shown[0])
    now = street.now()
    current = [row for row in shown if datetime.fromisoformat(row["period_start"]) <= now < datetime.fromisoformat(row["period_end"])]
    assert {row["status"] for row in current} == {"open"}
    previewed = {row["price_id"]: row for row in street.trueup("period", "preview", "globex")}
    tokens = previewed["price_input_tokens"]
    assert (Decimal(tokens["quantity_stripe"]), tokens["amount_stripe_minor"], tokens["amount_difference_minor"]) == (Decimal(700), 7, 0)
    assert call(street.environment, "period", "preview", "nobody-of-that-name", "--json").returncode == 1
