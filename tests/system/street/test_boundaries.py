"""Periods of 28, 29, 30 and 31 days that end at one odd second, in the whole street, with usage on both sides of that second.

What all notifications of Stripe's go through differs by customer. One customer's subscription begins at that second, and is made when the
usage around it was captured already. The oracle is the comparison of two instants.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import requests

from devstack.demo import stripe_reads
from devstack.demo.month import set_up
from devstack.demo.running import Running, running
from devstack.stripe_setup import StreetCustomer
from tests.makers.ingest_room import records
from trueup.contracts.codec import decode_webhook
from trueup.contracts.topics import TopicNames

CATALOGUE = """
[meter.calls]
unit = "call"
stripe_event_name = "calls"

[plan.basic]
stripe_prices = ["price_calls"]

[policy]
finalization_grace = "PT24H"
summary_settle = "PT2H"
"""
BEGAN = datetime(2023, 2, 27, tzinfo=UTC)
ENDS = datetime(2023, 2, 28, 10, 17, 42, tzinfo=UTC)
# A subscription that began on a day that February does not have bills on its last one.
SINCE = {days: ENDS - timedelta(days=days) for days in (28, 29, 30, 31)}
NOTIFICATIONS: dict[int, dict[str, object]] = {
    28: {"kind": "lose", "count": None},
    29: {"kind": "delay", "seconds": 86_400, "count": None},
    30: {"kind": "drop", "count": 12},
    31: {"kind": "duplicate", "count": None},
}
DAY_MS = 86_400_000
BEGINNER = StreetCustomer("begins", "cus_begins", "basic")
# Each in a digit of its own, so that a sum says which of them are in it. Both sides stand in one roll-up window.
VALUES = {
    ENDS - timedelta(minutes=10): 1,
    ENDS - timedelta(seconds=1): 10,
    ENDS - timedelta(milliseconds=1): 100,
    ENDS: 1_000,
    ENDS + timedelta(milliseconds=999): 10_000,
    ENDS + timedelta(seconds=1): 100_000,
}


def customers() -> dict[StreetCustomer, datetime]:
    """A customer for each length, and since when it is subscribed."""
    return {StreetCustomer(f"days-{days}", f"cus_days{days}", "basic"): since for days, since in SINCE.items()}


def use(here: Running) -> None:
    """Everybody's usage, by the command."""
    lines = [
        {"id": f"{value}-{one.name}", "source": "edge", "customer": one.name, "meter": "calls", "value": value, "time": at.isoformat()}
        for one in (*customers(), BEGINNER)
        for at, value in VALUES.items()
    ]
    path = here.street.data / "usage.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    assert json.loads(here.must("events", "send", str(path), "--json"))["accepted"] == len(lines)


def trouble(here: Running) -> None:
    """What happens to the notifications about each customer."""
    orders = [{"path": "webhook:*", "body_contains": f"cus_days{days}", **fault} for days, fault in NOTIFICATIONS.items()]
    requests.post(f"{here.stripe_url}/_emulator/faults", json=orders, timeout=30).raise_for_status()


def assert_struck(here: Running) -> None:
    """Every trouble happened: else the test would show that a good notification is understood."""
    taken = [decode_webhook(message.value() or b"") for message in records(here.settings, TopicNames(here.settings.topic_prefix).webhooks)]
    behind = [one for one in taken if one.created_ms >= ENDS.timestamp() * 1_000]
    told = {days: [one for one in behind if f"cus_days{days}".encode() in one.body] for days in NOTIFICATIONS}
    assert not told[28], "lost, and never tried again"
    assert told[29]
    assert all(one.received_at_ms - one.created_ms >= DAY_MS for one in told[29])
    left = requests.get(f"{here.stripe_url}/_emulator/faults", timeout=30).json()["faults"]
    assert told[30]
    assert not [fault for fault in left if fault["kind"] == "drop"], "not all of the deliveries that were to fail did"
    assert told[31]
    assert min(Counter(one.event_id for one in told[31]).values()) >= 2


def advance(here: Running, to: datetime) -> None:
    """Lets the street live until then."""
    here.street.advance_to(round(to.timestamp() * 1_000))


@pytest.mark.timeout(600)
def test_an_event_on_the_boundary_second_belongs_to_the_later_period() -> None:
    """In our ledger and on Stripe's invoice, whatever the length of the period and however its notifications come."""
    before = sum(value for at, value in VALUES.items() if at < ENDS)
    behind = sum(value for at, value in VALUES.items() if at >= ENDS)
    with running(CATALOGUE, clock="simulated", clock_start_ms=round(BEGAN.timestamp() * 1_000)) as here:
        for customer, since in customers().items():
            set_up(here, CATALOGUE, [customer], round(since.timestamp() * 1_000))
        trouble(here)
        advance(here, ENDS + timedelta(seconds=30))
        use(here)
        advance(here, ENDS + timedelta(seconds=60))
        set_up(here, CATALOGUE, [BEGINNER], round(ENDS.timestamp() * 1_000))
        # Stripe's grace begins with the first good answer about the draft: where all come a day late, so does the grace.
        advance(here, ENDS + timedelta(hours=76))
        sdk = stripe_reads.client(here.stripe_url, here.settings.stripe_api_key)
        names = {one.name: one.stripe_customer for one in customers()}
        invoiced, previewed = stripe_reads.invoices(sdk, names.values()).quantities, stripe_reads.previews(sdk, names.values())
        assert {name: invoiced.get((stripe, "calls")) for name, stripe in names.items()} == dict.fromkeys(names, Decimal(before))
        assert {name: previewed.get((stripe, "calls")) for name, stripe in names.items()} == dict.fromkeys(names, Decimal(behind))
        begun = stripe_reads.previews(sdk, [BEGINNER.stripe_customer])
        assert begun == {(BEGINNER.stripe_customer, "calls"): Decimal(behind)}
        received = stripe_reads.books(here.stripe_url)[BEGINNER.stripe_customer, "calls"]
        assert received == before + behind, "what was used before it began is at Stripe too, and on no invoice"
        for days in SINCE:
            ended, current = json.loads(here.must("period", "show", f"days-{days}", "--json"))
            length = datetime.fromisoformat(ended["period_end"]) - datetime.fromisoformat(ended["period_start"])
            assert (length, ended["period_end"], ended["status"]) == (timedelta(days=days), current["period_start"], "settled")
        assert_struck(here)
        _, proved = here.reconcile_and_prove()
        assert proved
