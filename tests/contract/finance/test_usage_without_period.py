"""Usage that Stripe received and no billing period covers is explained and becomes a case; what is taken back or late has its amount."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import ACK, HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, true_ledger
from trueup.ledger.periods import PeriodFact
from trueup.ledger.store import periods

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
        ("acme", 11, "acknowledged_not_invoiced", 33, "usd", "no billing period covers it: the last one ended at 2026-09-21T15:00:00Z"),
        ("globex", 42, "acknowledged_not_invoiced", None, None, "no subscription of the customer has a price for it"),
    ]


def test_usage_that_no_period_covers_becomes_a_case(ledger: TrueLedger) -> None:
    """After a cancellation a day later; without any subscription a week later, since one may still begin in the past."""
    _use(ledger)
    after_cancel = ("acme", 11, 33, "usd", None)
    assert _cases(ledger, SENT_MS + DAY_MS - 1_000) == []
    assert _cases(ledger, SENT_MS + DAY_MS) == [after_cancel]
    assert _cases(ledger, SENT_MS + 7 * DAY_MS - 1_000) == [after_cancel]
    assert _cases(ledger, SENT_MS + 7 * DAY_MS) == [after_cancel, ("globex", 42, None, None, None)]
    _period(ledger, "globex", NOON_MS - DAY_MS, NOON_MS + 29 * DAY_MS)
    assert _cases(ledger, SENT_MS + 8 * DAY_MS) == [after_cancel]


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
