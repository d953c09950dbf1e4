"""The usage view against ledgers that are true: what it says is what the books and the invoice say, to the unit and the cent."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from services.reconciler.app.invoices import Invoices
from services.usage_view.core.freshness import Mark
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.customer_view import Reader
from tests.makers.invoiced_story import invoiced_story
from tests.makers.invoices_given import GivenInvoices, make_invoice, make_line, make_price
from tests.makers.true_ledger import ACK, HOUR_MS, MINUTE_MS, NOON_MS, REJECT, TrueLedger
from tests.makers.usage_story import DAY_MS, LATER_MS, PERIOD, captured_story
from trueup.contracts.problems import Refused
from trueup.ledger.invoices import PriceReading
from trueup.ledger.store import customer_usage, invoices, periods
from trueup.ledger.store.periods import ToldEvent
from trueup.ledger.store.session import Session

START_MS, END_MS = NOON_MS - 10 * DAY_MS, NOON_MS + 2 * HOUR_MS


def subscribe(ledger: TrueLedger, price: PriceReading, meter: str = "tokens", start_ms: int = START_MS, end_ms: int = END_MS) -> None:
    """An item of acme's, and its price as it was read."""
    fact = replace(PERIOD, subscription_item_id=f"si_{meter}", price_id=price.price_id, stripe_event_name=meter, currency=price.currency)
    periods.record_period(ledger.writer, replace(fact, start_ms=start_ms, end_ms=end_ms))
    invoices.store_prices(ledger.writer, [price])


def meters(told: dict[str, Any]) -> dict[str, tuple[str, str, str, str]]:
    """The four quantities of each meter."""
    return {one["meter"]: (one["quantity"], one["in_flight"], one["under_review"], one["corrections"]) for one in told["meters"]}


def lines(told: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Meter, tier, quantity and amount of each line."""
    return [(line["meter"], line["tier"], Decimal(line["quantity"]), line["amount_minor"]) for line in told["lines"]]


def test_the_life_of_a_period(ledger: TrueLedger) -> None:
    """Captured, cut, sent: the quantity stands from the first moment, only what is not confirmed shrinks. Late usage waits for a person."""
    subscribe(ledger, make_price("price_tokens", "tokens", unit_amount_decimal="0.5"))
    captured_story(ledger)
    reader = Reader(ledger)
    told = reader.usage()
    assert meters(told)["tokens"] == ("109", "109", "40", "-3")
    assert meters(told)["seconds"] == ("1.50", "1.50", "0.00", "0.00")
    assert (lines(told), told["total_minor"], told["currency"]) == ([("tokens", None, 109, 55)], 55, "usd")
    ledger.arm()
    ledger.cut(NOON_MS + 100 * MINUTE_MS)
    assert meters(reader.usage())["tokens"] == ("109", "109", "40", "-3")
    ledger.send(ACK, NOON_MS + 110 * MINUTE_MS)
    assert meters(reader.usage())["tokens"] == ("109", "0", "40", "-3")
    assert lines(reader.usage()) == [("tokens", None, 109, 55)]


def test_a_price_that_was_changed_has_no_total_before_the_invoice(ledger: TrueLedger) -> None:
    """Only Stripe knows which share of the period it bills at which price."""
    subscribe(ledger, make_price("price_tokens", "tokens", unit_amount_decimal="0.5"))
    captured_story(ledger)
    subscribe(ledger, make_price("price_dear", "tokens", unit_amount_decimal="3"))
    told = Reader(ledger).usage()
    assert (lines(told), told["total_minor"], told["currency"]) == ([("tokens", None, 109, None)], None, "usd")


def _told(ledger: TrueLedger, number: int, created_ms: int, items: list[str] | None, *, has_more: bool = False) -> None:
    """A notification about the subscription, with the items that it lists; a thin one lists none."""
    subject: dict[str, Any] = {"id": "sub_acme", "customer": "cus_acme"}
    if items is not None:
        subject["items"] = {"object": "list", "has_more": has_more, "data": [{"id": item} for item in items]}
    body = json.dumps({"id": f"evt_{number}", "data": {"object": subject}})
    kind = "customer.subscription.created" if number == 0 else "customer.subscription.updated"
    event = ToldEvent(f"evt_{number}", kind, "sub_acme", "cus_acme", created_ms, created_ms, "webhook", body)
    periods.record_told(ledger.writer, [event])


SWAP_MS = NOON_MS + HOUR_MS


@pytest.mark.parametrize(
    ("told", "both"),
    [
        ([(START_MS, ["si_tokens"]), (SWAP_MS, ["si_dear"])], False),
        # What came in another order, what lists no items or not all of them, and an item that came back.
        ([(START_MS, ["si_tokens"]), (SWAP_MS + 9_000, ["si_dear"]), (SWAP_MS, ["si_dear"])], False),
        ([(START_MS, ["si_tokens"]), (SWAP_MS, None)], True),
        ([(START_MS, ["si_tokens"]), (SWAP_MS, ["si_dear"], True)], True),
        ([(START_MS, ["si_tokens"]), (SWAP_MS, ["si_dear"]), (SWAP_MS + 9_000, ["si_dear", "si_tokens"])], True),
        ([], True),
    ],
)
def test_an_item_that_was_taken_out_counts_no_further(ledger: TrueLedger, told: list[Any], both: bool) -> None:
    """9 tokens from before the other item took its place, 100 after it. Two items that stand beside each other both bill."""
    subscribe(ledger, make_price("price_tokens", "tokens", unit_amount_decimal="0.5"))
    dear = replace(PERIOD, subscription_item_id="si_dear", price_id="price_dear", start_ms=SWAP_MS, end_ms=END_MS)
    periods.record_period(ledger.writer, dear)
    invoices.store_prices(ledger.writer, [make_price("price_dear", "tokens", unit_amount_decimal="3")])
    for number, (created_ms, items, *more) in enumerate(told):
        _told(ledger, number, created_ms, items, has_more=bool(more))
    captured_story(ledger)
    shown = Reader(ledger).usage()
    old = ("tokens", None, 109, 55) if both else ("tokens", None, 9, 5)
    assert (lines(shown), shown["total_minor"]) == ([old, ("tokens", None, 100, 300)], old[3] + 300)
    assert meters(shown)["tokens"] == ("109", "109", "40", "-3")


def test_what_stripe_refused_is_on_no_bill(ledger: TrueLedger) -> None:
    """Rejected usage leaves the total and waits for a person."""
    subscribe(ledger, make_price("price_tokens", "tokens", unit_amount_decimal="0.5"))
    captured_story(ledger)
    ledger.arm()
    ledger.cut(NOON_MS + 100 * MINUTE_MS)
    ledger.send(REJECT, NOON_MS + 100 * MINUTE_MS)
    told = Reader(ledger).usage()
    assert (meters(told)["tokens"], told["total_minor"]) == (("0", "0", "149", "-3"), 0)


def test_the_final_invoice_is_what_is_shown(ledger: TrueLedger) -> None:
    """Stripe billed 1.40 of 1.50 seconds: the customer sees 1.40 and 14 cents, and a tenth of a second that waits for a person."""
    subscribe(ledger, make_price("price_seconds", "seconds", unit_amount_decimal="10"), "seconds")
    invoices.store_prices(ledger.writer, [make_price("price_tokens", "tokens", unit_amount_decimal="0")])
    periods.record_period(ledger.writer, PERIOD)
    invoiced_story(ledger)
    told = Reader(ledger).usage(wish=START_MS)
    ((total,),) = ledger.rows("select total_minor from ledger.invoice_snapshot where finalized_at is not null")
    assert (told["total_minor"], told["invoices"], told["invoices_disagreeing"]) == (total, ["in_1"], [])
    assert [line for line in lines(told) if line[0] == "seconds"] == [("seconds", None, Decimal("1.4"), 14)]
    assert meters(told)["seconds"] == ("1.40", "0.00", "0.10", "0.00")


GRADUATED = {
    "billing_scheme": "tiered",
    "tiers_mode": "graduated",
    "tiers": [
        {"up_to": 60, "unit_amount_decimal": "3", "flat_amount_decimal": "7"},
        {"up_to": 100, "unit_amount_decimal": "1.5", "flat_amount_decimal": None},
        {"up_to": None, "unit_amount_decimal": "0.25", "flat_amount_decimal": None},
    ],
}
# The 109 tokens of the story under each kind of price: as Stripe's invoice has them, worked out by hand.
PRICES = [
    ("usd", {"unit_amount_decimal": "0.5"}, [("109", 55)]),
    ("jpy", {"unit_amount_decimal": "0.5"}, [("109", 55)]),
    ("usd", GRADUATED, [("60", 187), ("40", 60), ("9", 2)]),
    ("usd", GRADUATED | {"tiers_mode": "volume"}, [("109", 27)]),
    ("usd", {"unit_amount_decimal": "30", "transform_quantity": {"divide_by": 50, "round": "up"}}, [("109", 90)]),
]


@pytest.mark.parametrize(("currency", "body", "billed"), PRICES)
def test_before_and_after_the_invoice_it_is_the_same(ledger: TrueLedger, currency: str, body: Any, billed: list[tuple[str, int]]) -> None:
    """Lines and total that a customer saw before the invoice are those of the final invoice, in every kind of price."""
    price = replace(make_price("price_tokens", "tokens", **(body | {"currency": currency})), currency=currency)
    subscribe(ledger, price, end_ms=NOON_MS + DAY_MS)
    captured_story(ledger)
    ledger.arm()
    ledger.cut(NOON_MS + 2 * HOUR_MS)
    ledger.send(ACK, NOON_MS + 2 * HOUR_MS)
    reader = Reader(ledger)
    before = reader.usage(wish=START_MS)
    stripes = [
        replace(
            make_line(price, quantity, amount, item="si_tokens", line_id=f"il_{place}"),
            period_start_ms=START_MS,
            period_end_ms=NOON_MS + DAY_MS,
            currency=currency,
        )
        for place, (quantity, amount) in enumerate(billed)
    ]
    ledger.set_now(NOON_MS + 3 * DAY_MS)
    invoice = replace(make_invoice(*stripes, finalized_at_ms=NOON_MS + 2 * DAY_MS), created_at_ms=NOON_MS + DAY_MS, currency=currency)
    room = Invoices(Session(ledger.database.writer_dsn, "reconciler"), GivenInvoices([invoice], [price]), "reconciler", 86_400)
    room.read(invoices.customers(ledger.writer))
    room.post()
    after = reader.usage(wish=START_MS)
    assert (after["invoices"], after["invoices_disagreeing"]) == (["in_1"], [])
    assert before["total_minor"] == after["total_minor"] == invoice.total_minor
    assert [(quantity, amount) for _, _, quantity, amount in lines(after)] == [(Decimal(quantity), amount) for quantity, amount in billed]
    assert before["lines"] == after["lines"]
    assert meters(before)["tokens"] == meters(after)["tokens"] == ("109", "0", "40", "-3")


def test_usage_without_anyone_to_bill(ledger: TrueLedger) -> None:
    """Globex was never mapped: its calendar month is shown, and that nothing is billed."""
    captured_story(ledger)
    told = Reader(ledger).usage("globex")
    assert told["period"] == {"start": "2026-09-01T00:00:00Z", "end": "2026-10-01T00:00:00Z"}
    assert (meters(told), told["lines"], told["total_minor"], told["currency"]) == ({"tokens": ("9", "9", "0", "0")}, [], 0, None)


@pytest.mark.parametrize(("customer", "wish"), [("nobody", "current"), ("acme", NOON_MS), ("acme", "previous"), ("globex", NOON_MS)])
def test_what_nobody_knows(ledger: TrueLedger, customer: str, wish: str | int) -> None:
    """Customers and periods that were never heard of are told apart from empty ones."""
    captured_story(ledger)
    subscribe(ledger, make_price("price_tokens", "tokens", unit_amount_decimal="0.5"))
    with pytest.raises(Refused) as refusal:
        Reader(ledger).usage(customer, wish)
    assert refusal.value.problem.status == 404


def test_up_to_when_it_is_complete(ledger: TrueLedger) -> None:
    """Captured to the end that the broker names: as of the question. Otherwise as of the last arrival that was captured."""
    captured_story(ledger)
    asked_ms = LATER_MS + HOUR_MS
    assert Reader(ledger, Mark(asked_ms, {0: 13})).usage()["data_through"] == "2026-09-21T16:02:00Z"
    assert Reader(ledger, Mark(asked_ms, {0: 14})).usage()["data_through"] == "2026-09-21T15:02:00Z"
    assert Reader(ledger).usage()["data_through"] == "2026-09-21T15:02:00Z"


def test_by_dimension(ledger: TrueLedger) -> None:
    """Each value's part of what was counted; an event that does not say is a part too."""
    ledger.map("acme")
    events = [("a", 7, {"model": "big"}), ("b", 5, {"model": "small"}), ("c", -2, {"model": "big"}), ("d", 1, {})]
    on_time = [
        make_forwarded(
            place,
            replace(make_event(name, event_time_ms=NOON_MS, quantity=quantity, reason="test" if quantity < 0 else None), dimensions=model),
            arrival_ms=NOON_MS + MINUTE_MS,
        )
        for place, (name, quantity, model) in enumerate(events)
    ]
    ledger.capture(make_announced(on_time=on_time))
    (meter,) = Reader(ledger).usage(by="model")["meters"]
    assert {part["value"]: part["quantity"] for part in meter["by"]} == {"big": "5", "small": "5", None: "1"}
    assert meter["quantity"] == "11"


def test_a_sum_beyond_64_bits_is_told_whole(ledger: TrueLedger) -> None:
    """The largest quantity that an event may have, ten thousand times."""
    ledger.map("acme")
    most, times = 10**15 - 1, 5_000
    for first in (0, times):
        on_time = [
            make_forwarded(place, make_event(f"e-{place}", event_time_ms=NOON_MS, quantity=most), arrival_ms=NOON_MS + MINUTE_MS)
            for place in range(first, first + times)
        ]
        ledger.capture(make_announced(on_time=on_time, first_offset=first))
    (meter,) = Reader(ledger).usage(by="model")["meters"]
    assert meter["quantity"] == meter["by"][0]["quantity"] == str(2 * times * most)
    assert 2 * times * most > 2**63


def test_the_events_behind_a_line_page_by_page(ledger: TrueLedger) -> None:
    """Every event once, whatever comes in between the pages."""
    captured_story(ledger)
    reader = Reader(ledger)
    bounds = (NOON_MS - 10 * DAY_MS, NOON_MS + 20 * DAY_MS)
    seen: list[str] = []
    after: tuple[int, int] | None = (0, 0)
    while after is not None:
        place = after
        page = reader.session.run(lambda connection: customer_usage.events(connection, "acme", "tokens", bounds, place, 2))  # noqa: B023
        seen += [event.id for event in page.events]
        after = page.goes_on_after
        if len(seen) == 2:
            late = [make_forwarded(13, make_event("e9", event_time_ms=NOON_MS, quantity=1), arrival_ms=LATER_MS)]
            ledger.capture(make_announced(first_offset=13, on_time=late, progress_offset=2))
    assert seen == ["e1", "e2", "e3", "l1", "e4", "e9"]


def test_a_page_reads_so_many_batches_and_no_more(ledger: TrueLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may be short and not be the last; going on finds the rest."""
    monkeypatch.setattr(customer_usage, "MOST_BATCHES", 2)
    ledger.map("acme")
    for number in range(5):
        event = make_event(f"e{number}", event_time_ms=NOON_MS, quantity=1)
        ledger.capture(
            make_announced(
                first_offset=number, on_time=[make_forwarded(number, event, arrival_ms=NOON_MS + MINUTE_MS)], progress_offset=number
            )
        )
    seen: list[list[str]] = []
    after: tuple[int, int] | None = (0, 0)
    while after is not None:
        page = customer_usage.events(ledger.writer, "acme", None, (NOON_MS - HOUR_MS, NOON_MS + HOUR_MS), after, 100)
        seen.append([event.id for event in page.events])
        after = page.goes_on_after
    assert seen == [["e0", "e1"], ["e2", "e3"], ["e4"]]


WRITES = [
    "update ledger.event set quantity = 0",
    "insert into ledger.deployment values (true, 'acct_mine', false, '2026-11-01')",
    "delete from ops.open_intent",
    "select * from ledger.event",
    "select * from ops.source_offset",
    "update derived.customer_leg set quantity = 0",
    "create table finance.mine (a integer)",
]


@pytest.mark.parametrize("statement", WRITES)
def test_the_room_can_write_nothing_and_see_no_table(ledger: TrueLedger, statement: str) -> None:
    """Not even when it says that it wants to write."""
    with psycopg.connect(ledger.database.dsn_of("usage_ro"), autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = off")
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
            connection.execute(statement.encode())


def test_finance_sees_no_keys(ledger: TrueLedger) -> None:
    """Hashes of keys are for the rooms whose doors they open."""
    with psycopg.connect(ledger.database.dsn_of("finance_ro")) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select * from derived.live_api_key")
