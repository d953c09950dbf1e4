"""Usage that Stripe received and no billing period covers is explained and becomes a case; what is taken back or late has its amount."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import ACK, HOUR_MS, MINUTE_MS, NOON_MS, UNKNOWN, TrueLedger, true_ledger
from trueup.ledger.periods import PeriodFact
from trueup.ledger.store import invoices, periods
from trueup.ledger.store.periods import ToldEvent

DAY_MS = 24 * HOUR_MS
ENDED_MS = NOON_MS + HOUR_MS
AFTER_MS = NOON_MS + 2 * HOUR_MS
SENT_MS = AFTER_MS + 10 * MINUTE_MS


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Acme's subscription, at three cents a token, ended an hour after noon; globex never had one."""
    with true_ledger(database) as made:
        for customer in ("acme", "globex"):
            made.map(customer)
        made.arm()
        _period(made, "acme", NOON_MS - 10 * DAY_MS, ENDED_MS)
        made.writer.execute(
            """insert into ops.marginal_price (subscription_item_id, period_start, period_end, stripe_customer, stripe_event_name, currency,
                   unit_amount_decimal, read_at)
               select p.subscription_item_id, p.period_start, p.period_end, p.stripe_customer, p.stripe_event_name, 'usd', 3, ops.now()
               from ledger.billing_period p"""
        )
        yield made


def _period(ledger: TrueLedger, customer: str, start_ms: int, end_ms: int) -> None:
    fact = PeriodFact(f"si_{customer}", f"sub_{customer}", f"cus_{customer}", "price_tokens", "tokens", "basic", "usd", start_ms, end_ms)
    assert periods.record_period(ledger.writer, fact)


def _use(ledger: TrueLedger) -> None:
    """Sent and acknowledged: 7 of acme inside its period, 11 after it, 42 of globex."""
    given = [("acme", NOON_MS, 7), ("acme", AFTER_MS, 11), ("globex", AFTER_MS, 42)]
    records = [
        make_forwarded(offset, make_event(f"e{offset}", customer=customer, event_time_ms=at_ms, quantity=quantity), arrival_ms=AFTER_MS)
        for offset, (customer, at_ms, quantity) in enumerate(given)
    ]
    ledger.capture(make_announced(on_time=records))
    ledger.cut(SENT_MS)
    while ledger.send(ACK, SENT_MS):
        pass


def _told(ledger: TrueLedger, what: str) -> None:
    """Stripe says something of acme's subscription; `deleted`: that it is over."""
    told = ToldEvent("evt_1", f"customer.subscription.{what}", "sub_acme", "cus_acme", ENDED_MS, ENDED_MS, "webhook", "{}")
    assert periods.record_told(ledger.writer, [told]) == [told]


def _cases(ledger: TrueLedger, now_ms: int) -> list[tuple[object, ...]]:
    ledger.set_now(now_ms)
    return ledger.rows(
        """select customer_id, quantity_smallest::int, amount_minor, currency, deadline from finance.review_queue
           where kind = 'no_subscription' order by customer_id"""
    )


def test_usage_that_no_period_covers_says_why(ledger: TrueLedger) -> None:
    _use(ledger)
    assert ledger.rows(
        """select customer_id, quantity_smallest::int, state, amount_at_risk_minor, currency, why from finance.unbilled_usage
           order by customer_id, hour"""
    ) == [
        ("acme", 7, "acknowledged_not_invoiced", 21, "usd", None),
        (
            "acme",
            11,
            "acknowledged_not_invoiced",
            33,
            "usd",
            "no billing period covers it: the last one known ended at 2026-09-21T15:00:00Z",
        ),
        ("globex", 42, "acknowledged_not_invoiced", None, None, "no subscription of the customer has a price for it"),
    ]


def test_usage_that_no_period_covers_becomes_a_case(ledger: TrueLedger) -> None:
    """After a cancellation a day later; without any subscription a week later, since one may still begin in the past."""
    _use(ledger)
    _told(ledger, "deleted")
    after_cancel = ("acme", 11, 33, "usd", None)
    assert _cases(ledger, SENT_MS + DAY_MS - 1_000) == []
    assert _cases(ledger, SENT_MS + DAY_MS) == [after_cancel]
    assert _cases(ledger, SENT_MS + 7 * DAY_MS - 1_000) == [after_cancel]
    assert _cases(ledger, SENT_MS + 7 * DAY_MS) == [after_cancel, ("globex", 42, None, None, None)]
    _period(ledger, "globex", NOON_MS - DAY_MS, NOON_MS + 29 * DAY_MS)
    assert _cases(ledger, SENT_MS + 8 * DAY_MS) == [after_cancel]


def test_a_renewal_that_is_not_known_yet_is_no_cancellation(ledger: TrueLedger) -> None:
    _use(ledger)
    _told(ledger, "updated")
    assert _cases(ledger, SENT_MS + 6 * DAY_MS) == []
    _period(ledger, "acme", ENDED_MS, ENDED_MS + 30 * DAY_MS)
    assert _cases(ledger, SENT_MS + 9 * DAY_MS) == [("globex", 42, None, None, None)]


def test_what_had_not_landed_and_was_sent_again_is_a_case_too(ledger: TrueLedger) -> None:
    ledger.capture(make_announced(on_time=[make_forwarded(0, make_event("e0", event_time_ms=AFTER_MS, quantity=11), arrival_ms=AFTER_MS)]))
    _told(ledger, "deleted")
    ledger.cut(SENT_MS)
    assert len(ledger.send(UNKNOWN, SENT_MS)) == 1
    ledger.settle(0, SENT_MS + 23 * HOUR_MS)
    again_ms = SENT_MS + 24 * HOUR_MS
    assert ledger.cut(again_ms) == 1
    assert len(ledger.send(ACK, again_ms)) == 1
    assert _cases(ledger, again_ms + 2 * DAY_MS) == [("acme", 11, 33, "usd", None)]


def test_a_window_that_was_sent_in_one_is_placed_by_the_second_it_was_sent_for(ledger: TrueLedger) -> None:
    """The period turns out to end inside a window whose newest event lies behind its end: by Stripe's books all of it does."""
    within = [
        make_forwarded(n, make_event(f"e{n}", event_time_ms=ENDED_MS + n * MINUTE_MS, quantity=5 + n), arrival_ms=AFTER_MS) for n in (1, 3)
    ]
    ledger.capture(make_announced(first_offset=1, on_time=within))
    ledger.cut(SENT_MS)
    assert len(ledger.send(ACK, SENT_MS)) == 1
    ledger.writer.execute("update ops.marginal_price set period_end = period_end + interval '2 minutes'")
    with ledger.sabotage() as hand:
        hand.execute("update ledger.billing_period set period_end = period_end + interval '2 minutes'")
    assert ledger.rows("select quantity_smallest::int, period_start, why is null from finance.unbilled_usage") == [(14, None, False)]
    assert sum(int(str(row[1])) for row in _cases(ledger, SENT_MS + 8 * DAY_MS)) == 14


def test_of_two_periods_the_one_that_began_last_says_what_a_case_is_worth(ledger: TrueLedger) -> None:
    """Another item began later and ended sooner, at twenty cents."""
    other = PeriodFact("si_b", "sub_b", "cus_acme", "price_b", "tokens", "basic", "usd", NOON_MS - 9 * DAY_MS, NOON_MS + MINUTE_MS)
    assert periods.record_period(ledger.writer, other)
    ledger.writer.execute(
        """insert into ops.marginal_price (subscription_item_id, period_start, period_end, stripe_customer, stripe_event_name, currency,
               unit_amount_decimal, read_at)
           select p.subscription_item_id, p.period_start, p.period_end, p.stripe_customer, p.stripe_event_name, 'usd', 20, ops.now()
           from ledger.billing_period p where p.subscription_item_id = 'si_b'"""
    )
    late = make_forwarded(0, make_event("l0", event_time_ms=NOON_MS - 2 * HOUR_MS, quantity=77), arrival_ms=AFTER_MS)
    ledger.capture(make_announced(late=[late]))
    assert ledger.rows("select amount_minor from finance.review_queue") == [(1_540,)]
    assert ledger.rows("select amount_at_risk_minor from finance.unbilled_usage") == [(1_540,)]


def test_one_event_at_a_dear_price_ends_no_view(ledger: TrueLedger) -> None:
    """The largest quantity that is accepted at a hundred dollars each: more cents than 64 bits hold."""
    most = 10**15 - 1
    ledger.writer.execute("update ops.marginal_price set unit_amount_decimal = 10000")
    late = make_forwarded(0, make_event("l0", event_time_ms=NOON_MS - 2 * HOUR_MS, quantity=most))
    back = make_forwarded(1, make_event("b0", quantity=-most, reason="oops"))
    right = make_forwarded(2, make_event("e0", quantity=3))
    ledger.capture(make_announced(on_time=[back, right], late=[late]))
    assert ledger.rows("select quantity_smallest, amount_minor from finance.review_queue") == [(most, None)]
    assert ledger.rows("select quantity_smallest, amount_minor from finance.adjustments") == [(-most, None)]
    assert len(ledger.rows("select * from finance.unbilled_usage")) == 2
    assert ledger.rows("select usage_minor, corrections_minor, closing_minor from finance.roll_forward") == [(None, None, 30_000)]
    assert all(abs(amount) < 2**63 for row in invoices.at_risk(ledger.writer) for amount in row.amounts_minor.values())


def test_what_is_late_or_taken_back_has_the_amount_of_unbilled_usage(ledger: TrueLedger) -> None:
    late = make_forwarded(0, make_event("l0", event_time_ms=NOON_MS - 2 * HOUR_MS, quantity=77))
    back = make_forwarded(1, make_event("b0", quantity=-60, reason="oops"))
    ledger.capture(make_announced(on_time=[back], late=[late]))
    assert ledger.rows("select kind, amount_minor, currency from finance.review_queue") == [("late", 231, "usd")]
    assert ledger.rows("select amount_minor, currency, extract(epoch from period_end)::bigint * 1000 from finance.adjustments") == [
        (-180, "usd", ENDED_MS)
    ]
    unbilled = ledger.rows("select amount_at_risk_minor from finance.unbilled_usage order by 1")
    assert unbilled == [(-180,), (231,)]
