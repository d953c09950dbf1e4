"""Quantities that no 64 bits hold: they wait for a person, and nobody else's usage waits with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.stripe_sink.core.dispatch_settle import Undecidable, settle
from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import ACK, HOUR_MS, MINUTE_MS, NOON_MS, UNKNOWN, TrueLedger, true_ledger
from trueup.ledger.intents import UnknownIntent
from trueup.ledger.periods import PeriodFact
from trueup.ledger.store import periods, proof
from trueup.ledger.store.dispatch import arming, cuts

LARGEST = 10**15 - 1  # of one event
LARGEST_SUM = 2**63 - 1
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Armed, with two mapped customers."""
    with true_ledger(database) as made:
        for customer in ("acme", "globex"):
            made.map(customer)
        made.arm()
        yield made
        checks = {check.check_name: check for check in proof.prove(made.writer, deep=True).checks}
        # What Stripe was read to say is another test's matter.
        assert [name for name, check in checks.items() if check.violations and name != "hours_equal_summaries"] == []


def _use(ledger: TrueLedger, customer: str, quantity: int, events: int, *, at_ms: int = NOON_MS) -> None:
    """That many events of one segment, in one batch."""
    begin = ledger.positions[0]["on_time"] if ledger.positions else 0
    reason = "made a mistake" if quantity < 0 else None
    records = [
        make_forwarded(offset, make_event(f"e{offset}", customer=customer, quantity=quantity, event_time_ms=at_ms, reason=reason))
        for offset in range(begin, begin + events)
    ]
    progress_offset = ledger.positions[0]["progress"] if ledger.positions else 0
    ledger.capture(make_announced(first_offset=begin, on_time=records, progress_offset=progress_offset))


def _sent(ledger: TrueLedger) -> list[tuple[str, int]]:
    ledger.send(ACK, NOON_MS + HOUR_MS)
    return [
        (str(customer), int(str(quantity)))
        for customer, quantity in ledger.rows(
            """select s.customer, i.quantity from ledger.intent i join ledger.subject s using (subject_id)
               join ledger.outcome o on o.intent_id = i.intent_id and o.class = 'ack' order by 1"""
        )
    ]


def test_a_window_of_more_digits_than_stripe_takes_goes_out_as_far_as_they_reach(ledger: TrueLedger) -> None:
    """Of batches with 15 digits each the first is sent; a summary of more would not be exact. What takes it back lets the next go."""
    for _ in range(2):
        _use(ledger, "acme", LARGEST, 1)
    while ledger.cut(NOON_MS + 30 * MINUTE_MS):
        pass
    assert _sent(ledger) == [("acme", LARGEST)]
    assert arming.halted_counts(ledger.writer) == {"value_too_long": 1}
    _use(ledger, "acme", -LARGEST, 1)
    assert ledger.cut(NOON_MS + 40 * MINUTE_MS) == 1
    assert _sent(ledger) == [("acme", LARGEST)]
    assert ledger.rows("select class, quantity from ledger.outcome join ledger.intent using (intent_id) order by outcome_id") == [
        ("ack", LARGEST),
        ("zero", 0),
    ]
    assert ledger.rows("select count(*) from ops.uncovered_segment") == [(0,)]
    assert arming.halted_counts(ledger.writer) == {}


def test_what_did_not_land_leaves_room_for_its_digits(ledger: TrueLedger) -> None:
    """It comes back to unsent, so that it does not count twice against what Stripe shows exactly."""
    _use(ledger, "acme", LARGEST, 1)
    at_ms = NOON_MS + 30 * MINUTE_MS
    assert ledger.cut(at_ms) == 1
    assert len(ledger.send(UNKNOWN, at_ms)) == 1
    ledger.settle(0, at_ms + 23 * HOUR_MS)
    assert ledger.cut(at_ms + 24 * HOUR_MS) == 1
    assert arming.halted_counts(ledger.writer) == {}


def test_a_batch_of_more_digits_than_stripe_takes_waits_alone(ledger: TrueLedger) -> None:
    """What came before it and another window of the same lane go out; a person is asked; what takes it back lets the rest go."""
    large = LARGEST - 100
    _use(ledger, "acme", 5, 1)
    _use(ledger, "acme", large, 2)
    _use(ledger, "acme", 11, 1, at_ms=NOON_MS + 10 * MINUTE_MS)
    while ledger.cut(NOON_MS + 30 * MINUTE_MS):
        pass
    assert _sent(ledger) == [("acme", 5), ("acme", 11)]
    assert ledger.rows("select waits_for from ops.uncovered_segment") == [("value_too_long",)]
    assert arming.halted_counts(ledger.writer) == {"value_too_long": 1}
    assert [(item.stripe_customer, item.reason) for item in arming.status(ledger.writer).halted_lanes] == [("cus_acme", "value_too_long")]
    _use(ledger, "acme", -large, 1)
    assert ledger.cut(NOON_MS + 40 * MINUTE_MS) == 1
    assert _sent(ledger) == [("acme", 5), ("acme", 11), ("acme", large)]
    assert arming.halted_counts(ledger.writer) == {}


def test_what_stripe_would_not_take_becomes_a_case_at_its_deadline(ledger: TrueLedger) -> None:
    """Nobody sends it then, so its length no longer matters."""
    names = ("si_acme", "sub_acme", "cus_acme", "price_tokens", "tokens", "basic", "usd")
    assert periods.record_period(ledger.writer, PeriodFact(*names, NOON_MS - DAY_MS, NOON_MS + HOUR_MS))
    _use(ledger, "acme", LARGEST, 5_000)
    _use(ledger, "acme", LARGEST, 5_000)
    assert ledger.cut(NOON_MS + 30 * MINUTE_MS) == 0
    ((deadline,),) = ledger.rows("select floor(extract(epoch from deadline) * 1000)::bigint from ops.uncovered_segment")
    assert cuts.state(ledger.writer).next_due_ms == deadline
    assert ledger.cut(int(str(deadline)) - 1_000) == 0
    while ledger.cut(int(str(deadline))):
        pass
    assert (
        ledger.rows("select class, quantity from ledger.outcome join ledger.intent using (intent_id)") == [("expired", 5_000 * LARGEST)] * 2
    )
    assert ledger.rows("select count(*) from ops.uncovered_segment") == [(0,)]
    assert ledger.rows("select quantity_smallest from finance.review_queue") == [(10_000 * LARGEST,)]


def test_one_batch_beyond_64_bits_waits_for_a_person_and_for_what_takes_it_back(ledger: TrueLedger) -> None:
    """No intent can hold it, since it covers whole batches: it stays unsent, says so and pages, until its sum fits again."""
    _use(ledger, "acme", LARGEST, 9_300)
    _use(ledger, "globex", 7, 1)
    assert ledger.cut(NOON_MS + 30 * MINUTE_MS) == 1
    assert ledger.cut(NOON_MS + 31 * MINUTE_MS) == 0
    assert _sent(ledger) == [("globex", 7)]
    assert ledger.rows("select waits_for from ops.uncovered_segment") == [("too_large",)]
    assert arming.halted_counts(ledger.writer) == {"too_large": 1}
    assert [(item.stripe_customer, item.reason) for item in arming.status(ledger.writer).halted_lanes] == [("cus_acme", "too_large")]
    assert ledger.rows("select state, quantity_smallest from finance.unbilled_usage where customer_id = 'acme'") == [
        ("unsent", 9_300 * LARGEST)
    ]
    _use(ledger, "acme", -LARGEST, 9_300)
    assert ledger.cut(NOON_MS + 40 * MINUTE_MS) == 1
    assert ledger.rows("select class, quantity from ledger.outcome join ledger.intent using (intent_id) where class = 'zero'") == [
        ("zero", 0)
    ]
    assert arming.halted_counts(ledger.writer) == {}


def test_a_boundary_through_more_than_64_bits_divides_the_others(ledger: TrueLedger) -> None:
    """What cannot be divided waits; the division of another customer's usage goes on."""
    boundary_ms = NOON_MS + 2 * MINUTE_MS
    for _ in range(2):
        _use(ledger, "acme", LARGEST, 5_000)
    _use(ledger, "globex", 7, 1)
    _use(ledger, "globex", 70, 1, at_ms=boundary_ms)
    for customer in ("acme", "globex"):
        names = (f"si_{customer}", f"sub_{customer}", f"cus_{customer}", "price_tokens", "tokens", "basic", "usd")
        assert periods.record_period(ledger.writer, PeriodFact(*names, boundary_ms, boundary_ms + 30 * DAY_MS))
    ledger.set_now(NOON_MS + 10 * MINUTE_MS)
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    cuts.judge(ledger.writer)
    assert cuts.split(ledger.writer, "sink") == 1
    assert ledger.cut(NOON_MS + 30 * MINUTE_MS) == 2
    assert ledger.rows("select quantity from ledger.intent order by quantity") == [(7,), (70,)]
    assert arming.halted_counts(ledger.writer) == {"too_large": 1}


def test_figures_that_no_settlement_can_hold_halt_their_lane() -> None:
    """The other hours are settled."""
    unknown = (UnknownIntent(1, LARGEST_SUM), UnknownIntent(2, LARGEST_SUM))
    assert settle(unknown, acknowledged=0, stripe=2 * LARGEST_SUM) == Undecidable("too_large")
    assert settle((), acknowledged=2 * LARGEST_SUM, stripe=2 * LARGEST_SUM) == Undecidable("too_large")
