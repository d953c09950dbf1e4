"""Boundaries learnt later, deadlines at the cut and in the lane: every quantity moves by a posting, and the proof holds."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.stripe_sink.core.dispatch_intent import draft
from tests.conftest import Database
from tests.contract.ledger.test_shared_event_names import apply_second
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import ACK, CATALOGUE_TOML, HOUR_MS, MINUTE_MS, NOON_MS, RETRY, UNKNOWN, TrueLedger, true_ledger
from trueup.ledger.intents import Draft
from trueup.ledger.periods import PeriodEvent, PeriodFact
from trueup.ledger.store import customers, flush, periods, plans, proof
from trueup.ledger.store.dispatch import cuts, lanes, settlements
from trueup.ledger.store.instants import instant

DAY_MS = 24 * HOUR_MS
BOUNDARY_MS = NOON_MS + 17 * MINUTE_MS + 42_000
WINDOW_MS = NOON_MS + 15 * MINUTE_MS
EARLIER_MS = NOON_MS + 16 * MINUTE_MS
GRACE_MS, MARGIN_MS = 24 * HOUR_MS, 10 * MINUTE_MS


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Armed, with one mapped customer."""
    with true_ledger(database) as made:
        made.map("acme")
        made.arm()
        yield made
        # What Stripe was read to say is another test's matter.
        checks = {check.check_name: check for check in proof.prove(made.writer, deep=True).checks}
        assert [name for name, check in checks.items() if check.violations and name != "hours_equal_summaries"] == []


def _period(ledger: TrueLedger, start_ms: int, end_ms: int, *, event_name: str = "tokens", item: str = "si_1") -> None:
    fact = PeriodFact(item, "sub_1", "cus_acme", "price_tokens", event_name, "basic", "usd", start_ms, end_ms)
    assert periods.record_period(ledger.writer, fact)


def _use(ledger: TrueLedger, *events: tuple[int, int], first_offset: int = 0) -> None:
    """Usage of acme on time, as (event time, quantity)."""
    records = [
        make_forwarded(offset, make_event(f"e{offset}", event_time_ms=at_ms, quantity=quantity), arrival_ms=max(at for at, _ in events))
        for offset, (at_ms, quantity) in enumerate(events, first_offset)
    ]
    ledger.capture(make_announced(first_offset=first_offset, on_time=records, progress_offset=first_offset))


def _unsent(ledger: TrueLedger) -> list[tuple[object, ...]]:
    return ledger.rows(
        """select segment_start, min(segment_end), sum(quantity)::bigint, sum(events)::bigint from ledger.posting
           where to_account = 2 group by segment_start having sum(events) <> 0 order by 1"""
    )


def _account(ledger: TrueLedger, account_id: int) -> int:
    ((quantity,),) = ledger.rows(
        "select coalesce(sum(case when to_account = %s then quantity else -quantity end), 0)::bigint from ledger.posting"
        " where %s in (from_account, to_account)",
        account_id,
        account_id,
    )
    return int(str(quantity))


def _cut(ledger: TrueLedger, now_ms: int) -> int:
    """As the cutter's round: cut, judge, divide; then cut again what the division made."""
    ledger.set_now(now_ms)
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    cuts.judge(ledger.writer)
    cuts.split(ledger.writer, "sink")
    return ledger.cut(now_ms + 10 * MINUTE_MS)


def _divide(ledger: TrueLedger, now_ms: int) -> None:
    """Cut, judge and divide, before anything is due."""
    ledger.set_now(now_ms)
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    cuts.judge(ledger.writer)
    assert cuts.split(ledger.writer, "sink") == 1


def _sent(ledger: TrueLedger) -> list[tuple[int, object, object]]:
    """Start, quantity and count of every intent, in the order of starts."""
    rows = ledger.rows("select ledger.milliseconds(segment_start), quantity, events from ledger.intent order by 1")
    return [(int(str(start_ms)), quantity, events) for start_ms, quantity, events in rows]


def _settle_as_lost(ledger: TrueLedger) -> None:
    """Two readings a quarter of an hour apart show nothing of what was sent in the hour: it is unsent again."""
    for now_ms in (NOON_MS + 21 * HOUR_MS, NOON_MS + 21 * HOUR_MS + 15 * MINUTE_MS):
        ledger.set_now(now_ms)
        (hour,) = settlements.hours(ledger.writer)
        epoch = settlements.lease(ledger.writer, hour, "sink", 0.0)
        assert epoch is not None
        settlements.read(ledger.writer, hour, epoch, 0, lambda _reading: settlements.Verdict(landed=()), "sink")
    assert ledger.rows("select count(*) from ops.open_intent where risk_since is not null") == [(0,)]


def test_a_posting_that_a_boundary_learnt_later_divides_is_split_from_its_events(ledger: TrueLedger) -> None:
    """The boundary's own second belongs to the later part, on both sides of it by a millisecond."""
    _use(ledger, (WINDOW_MS, 1), (BOUNDARY_MS - 1, 2), (BOUNDARY_MS, 4), (BOUNDARY_MS + 1, 8))
    _use(ledger, (BOUNDARY_MS - 60_000, 16), (BOUNDARY_MS + 60_000, 32), (BOUNDARY_MS + 30 * MINUTE_MS, 64), first_offset=4)
    _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
    _cut(ledger, NOON_MS + HOUR_MS)
    window_end, whole = instant(WINDOW_MS + 5 * MINUTE_MS), instant(NOON_MS + 45 * MINUTE_MS)
    assert _unsent(ledger) == [
        (instant(WINDOW_MS), instant(BOUNDARY_MS), 19, 3),
        (instant(BOUNDARY_MS), window_end, 44, 3),
        (whole, instant(NOON_MS + 50 * MINUTE_MS), 64, 1),
    ]
    sent = ledger.rows("select segment_start, quantity, events, stripe_timestamp from ledger.intent order by 1")
    assert sent == [
        (instant(WINDOW_MS), 19, 3, instant(BOUNDARY_MS // 1_000 * 1_000 - 1_000)),
        (instant(BOUNDARY_MS), 44, 3, instant(BOUNDARY_MS + 60_000)),
        (whole, 64, 1, instant(BOUNDARY_MS + 30 * MINUTE_MS)),
    ]
    assert ledger.rows("select kind, count(*) from ledger.batch where kind = 'split' group by 1") == [("split", 1)]


def _two_boundaries(ledger: TrueLedger) -> None:
    """Known one after the other: the later one first, so that its part has to be divided again."""
    _use(ledger, (WINDOW_MS, 1), (EARLIER_MS - 1, 2), (EARLIER_MS, 4), (BOUNDARY_MS - 1, 8), (BOUNDARY_MS, 16))
    _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
    _divide(ledger, NOON_MS + 16 * MINUTE_MS)
    _period(ledger, EARLIER_MS, BOUNDARY_MS, item="si_2")


THREE_PARTS = [(EARLIER_MS, 12, 2), (BOUNDARY_MS, 16, 1)]


def test_a_part_is_divided_again_by_a_boundary_learnt_later_still(ledger: TrueLedger) -> None:
    _two_boundaries(ledger)
    _cut(ledger, NOON_MS + HOUR_MS)
    assert _sent(ledger) == [(WINDOW_MS, 3, 2), *THREE_PARTS]
    assert ledger.rows("select count(*) from ledger.batch where kind = 'split'") == [(2,)]
    # Each event says by which of them it went.
    went = ledger.rows("select v.id, i.quantity from derived.event_intent v join ledger.intent i using (intent_id) order by 1")
    assert went == [("e0", 3), ("e1", 3), ("e2", 12), ("e3", 12), ("e4", 16)]


def test_what_came_while_a_division_was_made_is_divided_by_the_next(ledger: TrueLedger) -> None:
    """Captured after the cut that the first division looked at, so that it took nothing of it back."""
    _use(ledger, (WINDOW_MS, 1), (BOUNDARY_MS, 16))
    ledger.set_now(NOON_MS + 20 * MINUTE_MS)
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    cuts.judge(ledger.writer)
    _use(ledger, (BOUNDARY_MS - 1, 2), (BOUNDARY_MS + 1, 4), first_offset=2)
    _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
    assert cuts.split(ledger.writer, "sink") == 1
    _cut(ledger, NOON_MS + HOUR_MS)
    assert _sent(ledger) == [(WINDOW_MS, 3, 2), (BOUNDARY_MS, 20, 2)]


def _due(ledger: TrueLedger) -> list[Draft]:
    """What a cutter read and drew up, and did not write yet."""
    return [draft(item, stripe_account="acct_test") for item in cuts.coverages(ledger.writer, 1_000)]


def test_what_another_cutter_divided_meanwhile_is_not_covered_whole(ledger: TrueLedger) -> None:
    """Two cutters under one cut: neither the intent nor the note of what is due may be of what was divided."""
    _use(ledger, (WINDOW_MS, 1), (BOUNDARY_MS, 4))
    ledger.set_now(NOON_MS + HOUR_MS)
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    cuts.judge(ledger.writer)
    (read,) = _due(ledger)
    _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
    assert cuts.split(ledger.writer, "other") == 1
    assert cuts.make_intents(ledger.writer, [read], [], "sink") == 0
    _cut(ledger, NOON_MS + HOUR_MS)
    assert _sent(ledger) == [(WINDOW_MS, 1, 1), (BOUNDARY_MS, 4, 1)]


def test_what_another_cutter_is_about_to_divide_is_not_covered_whole(ledger: TrueLedger) -> None:
    """It judged under the new period, and this one does not look again: an intent through the boundary could not be taken back."""
    _use(ledger, (WINDOW_MS, 1), (BOUNDARY_MS, 4), (BOUNDARY_MS + 30 * MINUTE_MS, 64))
    _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
    ledger.set_now(NOON_MS + HOUR_MS)
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    cuts.judge(ledger.writer)
    assert cuts.make_intents(ledger.writer, _due(ledger), [], "sink") == 1
    _cut(ledger, NOON_MS + HOUR_MS)
    assert _sent(ledger) == [(WINDOW_MS, 1, 1), (BOUNDARY_MS, 4, 1), (NOON_MS + 45 * MINUTE_MS, 64, 1)]


def test_what_another_cutter_judged_otherwise_meanwhile_keeps_its_place(ledger: TrueLedger) -> None:
    """Mapped to another Stripe customer: nothing goes to the one before, and it is still due."""
    _use(ledger, (NOON_MS, 7))
    ledger.set_now(NOON_MS + HOUR_MS)
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    cuts.judge(ledger.writer)
    (read,) = _due(ledger)
    customers.map_customer(ledger.writer, "acme", "cus_other", reason="test", recorded_by="test")
    cuts.judge(ledger.writer)
    assert cuts.make_intents(ledger.writer, [read], [], "sink") == 0
    assert ledger.cut(NOON_MS + HOUR_MS) == 1
    assert ledger.rows("select l.stripe_customer, i.quantity from ledger.intent i join ledger.lane l using (lane_id)") == [("cus_other", 7)]


def test_a_division_waits_for_another_cutter(ledger: TrueLedger) -> None:
    """Passing it by, a cutter would go on to its intents with what it should have divided."""
    _use(ledger, (WINDOW_MS, 1), (BOUNDARY_MS, 4))
    ledger.set_now(NOON_MS + HOUR_MS)
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    cuts.judge(ledger.writer)
    _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
    with ThreadPoolExecutor(1) as pool:
        with ledger.admin.transaction():
            ledger.admin.execute("select from ops.dispatch_progress for update")
            dividing = pool.submit(cuts.split, ledger.writer, "sink")
            with pytest.raises(TimeoutError):
                dividing.result(0.5)
        assert dividing.result(10) == 1


@pytest.mark.parametrize("divided_before", [False, True])
def test_what_came_back_from_a_reading_is_divided_by_the_events_of_its_intent(ledger: TrueLedger, divided_before: bool) -> None:
    _use(ledger, (WINDOW_MS, 1), (EARLIER_MS - 1, 2), (EARLIER_MS, 4), (BOUNDARY_MS - 1, 8))
    if divided_before:
        _use(ledger, (BOUNDARY_MS, 16), first_offset=4)
        _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
        _divide(ledger, NOON_MS + 16 * MINUTE_MS)
    ledger.cut(NOON_MS + HOUR_MS)
    ledger.send(UNKNOWN, NOON_MS + HOUR_MS)
    _settle_as_lost(ledger)
    if not divided_before:
        _use(ledger, (BOUNDARY_MS, 16), first_offset=4)
        _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
    _period(ledger, EARLIER_MS, BOUNDARY_MS, item="si_2")
    _cut(ledger, NOON_MS + 22 * HOUR_MS)
    assert ledger.rows(
        "select ledger.milliseconds(i.segment_start), i.quantity, i.events from ops.open_intent"
        " join ledger.intent i using (intent_id) order by 1"
    ) == [(WINDOW_MS, 3, 2), *THREE_PARTS]


def test_all_events_on_one_side_leave_nothing_of_the_other(ledger: TrueLedger) -> None:
    _use(ledger, (BOUNDARY_MS, 4))
    _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
    _cut(ledger, NOON_MS + HOUR_MS)
    assert ledger.rows("select segment_start, quantity from ledger.intent") == [(instant(BOUNDARY_MS), 4)]
    ledger.cut(NOON_MS + 2 * HOUR_MS)
    assert ledger.rows("select count(*) from ops.uncovered_segment") == [(0,)]


def test_what_was_sent_before_the_boundary_was_known_is_left_alone(ledger: TrueLedger) -> None:
    _use(ledger, (WINDOW_MS, 1), (BOUNDARY_MS, 4))
    assert ledger.cut(NOON_MS + HOUR_MS) == 1
    _period(ledger, BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS)
    _cut(ledger, NOON_MS + 2 * HOUR_MS)
    assert ledger.rows("select segment_start, quantity from ledger.intent") == [(instant(WINDOW_MS), 5)]


def test_the_deadline_at_the_cut(ledger: TrueLedger) -> None:
    """Cut too late: the intent stands there as evidence, its quantity with a person, and nothing may be sent."""
    _period(ledger, NOON_MS - 30 * DAY_MS, NOON_MS + HOUR_MS)
    _use(ledger, (NOON_MS, 7))
    ledger.cut(NOON_MS + HOUR_MS + GRACE_MS - MARGIN_MS)
    assert ledger.rows("select class, final from ledger.outcome") == [("expired", True)]
    assert (_account(ledger, 2), _account(ledger, 3), _account(ledger, 8)) == (0, 0, 7)
    assert ledger.send(ACK, NOON_MS + 2 * DAY_MS) == []


def test_a_second_before_the_deadline_it_is_still_cut_and_sent(ledger: TrueLedger) -> None:
    _period(ledger, NOON_MS - 30 * DAY_MS, NOON_MS + HOUR_MS)
    _use(ledger, (NOON_MS, 7))
    last_ms = NOON_MS + HOUR_MS + GRACE_MS - MARGIN_MS - 1_000
    ledger.cut(last_ms)
    assert len(ledger.send(ACK, last_ms)) == 1
    assert _account(ledger, 4) == 7


def test_the_deadline_in_the_lane(ledger: TrueLedger) -> None:
    """Cut in time, answered with 429 until the deadline: no call after it, and the quantity goes to a person."""
    _period(ledger, NOON_MS - 30 * DAY_MS, NOON_MS + HOUR_MS)
    _use(ledger, (NOON_MS, 7))
    ledger.cut(NOON_MS + HOUR_MS)
    deadline_ms = NOON_MS + HOUR_MS + GRACE_MS - MARGIN_MS
    assert len(ledger.send(RETRY, deadline_ms - 1_000)) == 1
    assert ledger.send(ACK, deadline_ms) == []
    assert lanes.expire(ledger.writer, "sink") == 1
    assert lanes.expire(ledger.writer, "sink") == 0
    assert (_account(ledger, 3), _account(ledger, 8)) == (0, 7)
    assert ledger.rows("select class from ledger.outcome order by 1") == [("expired",), ("retry",)]
    (period,) = periods.due(ledger.writer, ["cus_acme"])
    assert (period.unsent_segments, period.open_intents, period.expired_intents) == (0, 0, 1)


def test_picked_in_time_and_asked_too_late(ledger: TrueLedger) -> None:
    _period(ledger, NOON_MS - 30 * DAY_MS, NOON_MS + HOUR_MS)
    _use(ledger, (NOON_MS, 7))
    deadline_ms = NOON_MS + HOUR_MS + GRACE_MS - MARGIN_MS
    ledger.cut(deadline_ms - 2_000)
    (call,) = lanes.claim(ledger.writer, "sink", lease_seconds=60.0, most=1, key_of=lambda pick: pick.identifier)
    assert lanes.may_send(ledger.writer, call.pick)
    ledger.set_now(deadline_ms)
    assert not lanes.may_send(ledger.writer, call.pick)
    # A draft that finalizes sooner than the grace said counts from the moment it is known, in mid-lease.
    ledger.set_now(deadline_ms - 2_000)
    assert lanes.may_send(ledger.writer, call.pick)
    event = PeriodEvent("si_1", NOON_MS - 30 * DAY_MS, "closing", "in_1", NOON_MS + 2 * HOUR_MS, "draft", "test")
    assert periods.record_event(ledger.writer, event)
    assert not lanes.may_send(ledger.writer, call.pick)


def test_picked_and_asked_when_the_lease_is_over(ledger: TrueLedger) -> None:
    """A machine that slept in between saw no time pass, and nobody else took the lane: the call might be a second one a day later."""
    _period(ledger, NOON_MS - 30 * DAY_MS, NOON_MS + HOUR_MS)
    _use(ledger, (NOON_MS, 7))
    ledger.cut(NOON_MS + HOUR_MS)
    (call,) = lanes.claim(ledger.writer, "sink", lease_seconds=60.0, most=1, key_of=lambda pick: pick.identifier)
    assert lanes.may_send(ledger.writer, call.pick)
    ledger.admin.execute("update ops.lane_state set leased_until = clock_timestamp()")
    assert not lanes.may_send(ledger.writer, call.pick)


def test_what_may_have_arrived_is_not_sent_again_past_the_deadline_but_read(ledger: TrueLedger) -> None:
    """The horizon is 20 h or the deadline if sooner; the lane is not given to a person while it may be in Stripe."""
    _period(ledger, NOON_MS - 30 * DAY_MS, NOON_MS + HOUR_MS)
    _use(ledger, (NOON_MS, 7))
    deadline_ms = NOON_MS + HOUR_MS + GRACE_MS - MARGIN_MS
    ledger.cut(deadline_ms - 2 * HOUR_MS)
    ledger.send(UNKNOWN, deadline_ms - 2 * HOUR_MS)
    assert ledger.send(ACK, deadline_ms) == []
    assert lanes.expire(ledger.writer, "sink") == 0
    assert [hour.due_ms for hour in settlements.hours(ledger.writer)] == [deadline_ms]


def test_a_pause_does_not_outlast_the_deadline(ledger: TrueLedger) -> None:
    _period(ledger, NOON_MS - 30 * DAY_MS, NOON_MS + HOUR_MS)
    ledger.admin.execute(
        "insert into ledger.arming (action, customer, reason, acted_by, database_identity, lanes_compared, lanes_different, recorded_at)"
        " values ('disarm', 'acme', 'test', 'test', ops.database_identity(), 0, 0, ops.now())"
    )
    _use(ledger, (NOON_MS, 7))
    deadline_ms = NOON_MS + HOUR_MS + GRACE_MS - MARGIN_MS
    assert ledger.cut(deadline_ms - 1_000) == 0
    assert cuts.state(ledger.writer).next_due_ms == deadline_ms
    assert ledger.cut(deadline_ms) == 1
    assert _account(ledger, 8) == 7


def test_a_period_that_was_cut_short_ends_where_its_newest_fact_says(ledger: TrueLedger) -> None:
    _period(ledger, NOON_MS - DAY_MS, NOON_MS + 30 * DAY_MS)
    _period(ledger, NOON_MS - DAY_MS, NOON_MS)
    _period(ledger, NOON_MS, NOON_MS + 20 * DAY_MS, item="si_2")
    assert periods.calendars(ledger.writer, [("acme", "tokens")])["acme", "tokens"].boundaries_ms == (
        NOON_MS - DAY_MS,
        NOON_MS,
        NOON_MS + 20 * DAY_MS,
    )
    # Told once more, nothing is added; told otherwise and back again, the newest holds.
    fact = PeriodFact("si_1", "sub_1", "cus_acme", "price_tokens", "tokens", "basic", "usd", NOON_MS - DAY_MS, NOON_MS)
    assert not periods.record_period(ledger.writer, fact)
    _period(ledger, NOON_MS - DAY_MS, NOON_MS + 30 * DAY_MS)
    assert len(ledger.rows("select 1 from ledger.billing_period where subscription_item_id = 'si_1'")) == 3


def test_usage_that_arrives_for_an_invoiced_period_is_a_case(ledger: TrueLedger) -> None:
    """On time by its window or late: the period is closed. The journey says where it went, and the queue by when it should have come."""
    start_ms, end_ms = NOON_MS - 30 * DAY_MS, NOON_MS
    _period(ledger, start_ms, end_ms)
    invoiced = PeriodEvent("si_1", start_ms, "invoiced", "in_1", NOON_MS + 5 * MINUTE_MS, "draft", "test")
    assert periods.record_event(ledger.writer, invoiced)
    ledger.set_now(NOON_MS + 20 * MINUTE_MS)
    on_time = make_forwarded(0, make_event("on-time", event_time_ms=end_ms - 1, quantity=5), arrival_ms=NOON_MS + 19 * MINUTE_MS)
    late = make_forwarded(1, make_event("late", event_time_ms=end_ms - DAY_MS, quantity=3), arrival_ms=NOON_MS + 19 * MINUTE_MS)
    next_period = make_forwarded(2, make_event("next", event_time_ms=end_ms, quantity=9), arrival_ms=NOON_MS + 19 * MINUTE_MS)
    ledger.capture(make_announced(on_time=[on_time, next_period], late=[late]))
    assert (_account(ledger, 8), _account(ledger, 2)) == (8, 9)
    queue = ledger.rows("select kind, quantity, period_start, deadline, event_count from finance.review_queue order by kind")
    deadline = instant(NOON_MS + 5 * MINUTE_MS - MARGIN_MS)
    assert queue == [("late", 3, instant(start_ms), deadline, 1), ("past_deadline", 5, instant(start_ms), deadline, 1)]
    (posted,) = ledger.rows("select detail from finance.event_journey where event_id = 'on-time' and step = 'posted'")
    assert str(posted[0]).startswith("usage to in_review (past_deadline)")
    # Once something of the meter was sent, the comparison tells the hours of the closed period apart from those that agree.
    assert ledger.cut(NOON_MS + 30 * MINUTE_MS) == 1
    explained = ledger.rows("select hour_start, quantity_ledger, explanation from finance.stripe_reconciliation order by 1")
    assert explained == [
        (instant(end_ms - DAY_MS), 3, "late_after_close"),
        (instant(end_ms - HOUR_MS), 5, "late_after_close"),
        (instant(end_ms), 9, "not_settled"),
    ]


def test_what_expired_before_its_call_is_a_case_of_its_sources(ledger: TrueLedger) -> None:
    _period(ledger, NOON_MS - 30 * DAY_MS, NOON_MS + HOUR_MS)
    _use(ledger, (NOON_MS, 7), (NOON_MS + 1, 8))
    ledger.cut(NOON_MS + HOUR_MS + GRACE_MS - MARGIN_MS)
    queue = ledger.rows("select kind, source, quantity, event_count from finance.review_queue")
    assert queue == [("past_deadline", "inference", 15, 2)]


def test_a_date_that_was_moved_and_moved_back_is_the_first_one_again(ledger: TrueLedger) -> None:
    """Somebody postpones a draft and thinks better of it: what comes between the two dates would be on no invoice."""
    _period(ledger, NOON_MS - DAY_MS, NOON_MS + DAY_MS)
    first_ms, second_ms = NOON_MS + DAY_MS + HOUR_MS, NOON_MS + 4 * DAY_MS

    def told(deadline_ms: int) -> bool:
        event = PeriodEvent("si_1", NOON_MS - DAY_MS, "closing", "in_1", deadline_ms, "draft", "as Stripe says")
        return periods.record_event(ledger.writer, event)

    assert [told(first_ms), told(first_ms), told(second_ms), told(first_ms), told(first_ms)] == [True, False, True, True, False]
    (calendar,) = periods.calendars(ledger.writer, [("acme", "tokens")]).values()
    assert calendar.deadline_ms(NOON_MS) == first_ms - MARGIN_MS


def test_a_change_of_plan_divides_the_window_that_it_lies_in(ledger: TrueLedger) -> None:
    """Known before, at capture; learnt later, before the cut. Each part goes by the plan of its own time."""
    _use(ledger, (EARLIER_MS, 5), (BOUNDARY_MS, 7))
    assert [row[2] for row in _unsent(ledger)] == [12]
    plans.record(ledger.writer, plans.PlanFact("acme", "pro", BOUNDARY_MS, "sub_1"))
    assert _cut(ledger, NOON_MS + 30 * MINUTE_MS) == 2
    assert ledger.rows("select quantity from ledger.intent order by intent_id") == [(5,), (7,)]
    _use(ledger, (EARLIER_MS + HOUR_MS, 1), (BOUNDARY_MS + HOUR_MS, 2), first_offset=2)
    assert [row[2] for row in _unsent(ledger)][-1:] == [3], "no change lies in that window"
    _use(ledger, (EARLIER_MS, 3), (BOUNDARY_MS, 4), first_offset=4)
    assert (instant(BOUNDARY_MS), 11) in [(row[0], row[2]) for row in _unsent(ledger)]


def test_usage_of_which_nobody_knows_the_plan_is_a_case_at_the_earliest_deadline(ledger: TrueLedger) -> None:
    """Some item of the customer has a price for its meter, so its date is known, though not whether it is the one."""
    _period(ledger, NOON_MS - DAY_MS, NOON_MS + HOUR_MS, event_name="runs_pro")
    event = make_event("r1", meter="runs", event_time_ms=EARLIER_MS, quantity=1)
    ledger.capture(make_announced(first_offset=0, on_time=[make_forwarded(0, event, arrival_ms=EARLIER_MS)], progress_offset=0))
    deadline_ms = NOON_MS + HOUR_MS + GRACE_MS - MARGIN_MS
    assert ledger.cut(deadline_ms - 1_000) == 0
    assert ledger.rows("select waits_for, ledger.milliseconds(deadline) from ops.uncovered_segment") == [("no_plan", deadline_ms)]
    assert cuts.state(ledger.writer).next_due_ms == deadline_ms
    ledger.set_now(deadline_ms)
    cuts.judge_waiting(ledger.writer)
    assert ledger.cut(deadline_ms) == 1
    assert (ledger.rows("select class from ledger.outcome"), _account(ledger, 8)) == ([("expired",)], 1)
    assert ledger.rows("select count(*) from ops.uncovered_segment") == [(0,)]


def test_a_margin_that_is_raised_later_makes_no_earlier_call_too_late(ledger: TrueLedger) -> None:
    """The proof judges a call by the catalogue that was known then; the fixture looks at it when this is over."""
    _period(ledger, NOON_MS - DAY_MS, NOON_MS + HOUR_MS)
    _use(ledger, (EARLIER_MS, 7))
    deadline_ms = NOON_MS + HOUR_MS + GRACE_MS - MARGIN_MS
    assert ledger.cut(deadline_ms - HOUR_MS) == 1
    assert len(ledger.send(ACK, deadline_ms - HOUR_MS)) == 1
    ledger.set_now(deadline_ms)
    apply_second(ledger, CATALOGUE_TOML.replace('unit = "token"', 'unit = "token"\nclose_margin = "PT4H"'), deadline_ms)


def test_a_flush_hurries_nothing_that_has_not_begun_by_now(ledger: TrueLedger) -> None:
    """The clock may step back after the request, as after a failover to a server that is behind: Stripe takes no date ahead of its own."""
    used_ms = NOON_MS + 16 * MINUTE_MS
    _use(ledger, (used_ms, 7))
    assert ledger.cut(used_ms) == 0
    flush.request(ledger.writer, "acme", "a person asked")
    assert flush.pending(ledger.writer)
    ledger.set_now(NOON_MS + 14 * MINUTE_MS)
    assert not flush.pending(ledger.writer)
    assert flush.hasten(ledger.writer) == 0
    ledger.set_now(used_ms)
    assert flush.hasten(ledger.writer) == 1
    assert ledger.cut(used_ms) == 1
