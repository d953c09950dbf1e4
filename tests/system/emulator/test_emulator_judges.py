"""The claim on which every other proof leans: the books are the plain sum of what was accepted, whatever went wrong on the way."""

from __future__ import annotations

import uuid
from collections import defaultdict
from decimal import Decimal
from typing import Any

import stripe
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.system.emulator.running import HOUR, RunningEmulator, World, make_world

_VALUES = st.one_of(
    st.integers(-50, 400).map(str),
    st.decimals(min_value=-9, max_value=9, places=3).map(lambda value: format(value, "f")),
    st.sampled_from(["999999999999999", "0.000000000001"]),
)
_FAULTS = st.fixed_dictionaries(
    {
        "path": st.just("/v1/billing/meter_events"),
        "kind": st.sampled_from(["429", "lock_timeout", "500_before", "500_after", "drop_before", "drop_after", "reject"]),
        "count": st.integers(1, 3),
        "skip": st.integers(0, 6),
    }
)
_USAGE = st.fixed_dictionaries(
    {
        "value": _VALUES,
        "hours_ago": st.integers(0, 60),
        "customer": st.integers(0, 2),
        "twice": st.booleans(),
        "known": st.booleans() | st.just(True),
        "keyed": st.booleans(),
    }
)


def send_until_settled(client: stripe.StripeClient, form: dict[str, Any], key: str | None) -> str:
    """Send one event as a careful client does: the same identifier until Stripe says that it has it."""
    for attempt in range(40):
        options: Any = {"idempotency_key": key} if key is not None and attempt == 0 else {}
        try:
            client.v1.billing.meter_events.create(form, options)  # type: ignore[arg-type]
        except stripe.InvalidRequestError as error:
            assert str(error.user_message).startswith("An event already exists with identifier"), error
            return "duplicate"
        except (stripe.APIConnectionError, stripe.RateLimitError, stripe.APIError):
            continue
        return "accepted"
    raise AssertionError("40 attempts were not enough for at most a few faults")


@given(usage=st.lists(_USAGE, min_size=1, max_size=12), faults=st.lists(_FAULTS, max_size=4), kill=st.sampled_from([False] * 4 + [True]))
# Not shrunk: every example costs real requests, and a failing one is short enough to read.
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_books_are_the_sum_of_what_was_accepted(
    own_emulator: RunningEmulator, usage: list[dict[str, Any]], faults: list[dict[str, Any]], kill: bool
) -> None:
    """Each fact is counted once; if its customer is unknown or a fault rejected it, it stands among the rejected instead."""
    world = make_world(own_emulator)
    customers = [world.customer, *(world.stripe.v1.customers.create({}).id for _ in range(2))]
    own_emulator.tell("faults", faults)
    client = own_emulator.client(retries=1)
    facts: dict[str, tuple[str, Decimal, int]] = {}
    for fact in usage:
        identifier = str(uuid.uuid4())
        customer = customers[fact["customer"]] if fact["known"] else "cus_nobody"
        timestamp = world.clock.now - fact["hours_ago"] * HOUR
        payload = {"stripe_customer_id": customer, "value": fact["value"]}
        form = {"event_name": world.event_name, "identifier": identifier, "timestamp": timestamp, "payload": payload}
        for _ in range(1 + fact["twice"]):
            send_until_settled(client, form, identifier if fact["keyed"] else None)
        facts[identifier] = (customer, Decimal(fact["value"]), timestamp // HOUR * HOUR)
    if kill:
        own_emulator.restart()
    check_books(world, facts)


def check_books(world: World, facts: dict[str, tuple[str, Decimal, int]]) -> None:
    """Compare the emulator's books with the facts, and both with its own request log's count of executed requests."""
    books = world.emulator.ask("books")
    counted, rejected = books["meters"][world.event_name], books["rejected"][world.event_name]
    assert "cus_nobody" not in counted
    truth: dict[str, Decimal] = defaultdict(Decimal)
    events: dict[str, int] = defaultdict(int)
    for customer, value, _ in facts.values():
        truth[customer] += value
        events[customer] += 1
    for customer in truth:
        kept = counted.get(customer, {"events": 0, "value": "0", "hours": {}})
        lost = rejected.get(customer, {"events": 0, "value": "0"})
        assert kept["events"] + lost["events"] == events[customer]
        assert Decimal(kept["value"]) + Decimal(lost["value"]) == truth[customer]
        assert sum(map(Decimal, kept["hours"].values())) == Decimal(kept["value"])
    assert set(counted) | set(rejected) == set(truth)
    journal = (world.emulator.folder / "journal.jsonl").read_text()
    assert sum(journal.count(f'"identifier":"{identifier}"') for identifier in facts) == len(facts)
