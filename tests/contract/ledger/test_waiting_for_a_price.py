"""Usage that no subscription has a price for, and usage of a customer on two plans at once: kept, named, and judged anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, true_ledger
from trueup.ledger.periods import PeriodFact
from trueup.ledger.store import flush, periods, plans, proof
from trueup.ledger.store.dispatch import arming, cuts

DAY_MS = 24 * HOUR_MS
USED_MS = NOON_MS + 16 * MINUTE_MS
DUE_MS = NOON_MS + 30 * MINUTE_MS


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Armed, with one mapped customer."""
    with true_ledger(database) as made:
        made.map("acme")
        made.arm()
        yield made
        checks = proof.prove(made.writer, deep=True).checks
        assert [check.check_name for check in checks if check.violations and check.check_name != "hours_equal_summaries"] == []


def _use(ledger: TrueLedger, meter: str, offset: int = 0, event_time_ms: int = USED_MS) -> None:
    event = make_event(f"e{offset}", meter=meter, event_time_ms=event_time_ms, quantity=1)
    record = make_forwarded(offset, event, arrival_ms=event_time_ms)
    ledger.capture(make_announced(first_offset=offset, on_time=[record], progress_offset=offset))


def _subscribe(ledger: TrueLedger, plan: str, event_name: str, *, ends_ms: int = NOON_MS + 20 * DAY_MS) -> None:
    """A subscription on a plan since a day ago, told again when it ends elsewhere than was known."""
    subscription = f"sub_{plan}"
    start_ms = NOON_MS - DAY_MS
    periods.record_period(
        ledger.writer, PeriodFact(f"si_{plan}", subscription, "cus_acme", f"price_{event_name}", event_name, plan, "usd", start_ms, ends_ms)
    )
    plans.record(ledger.writer, plans.PlanFact("acme", plan, start_ms, subscription))


def _waiting(ledger: TrueLedger) -> list[tuple[object, ...]]:
    return ledger.rows("select waits_for, deadline from ops.uncovered_segment order by subject_id, segment_start")


def _shown(ledger: TrueLedger) -> list[object]:
    return [state for (state,) in ledger.rows("select state from finance.unbilled_usage order by meter, hour")]


def test_usage_that_no_subscription_has_a_price_for_waits_and_says_so(ledger: TrueLedger) -> None:
    _use(ledger, "tokens")
    _subscribe(ledger, "basic", "runs_basic")
    assert ledger.cut(DUE_MS) == 0
    assert (_waiting(ledger), _shown(ledger)) == ([("no_price", None)], ["no_price"])
    outbox = {item.state: item.items for item in arming.outbox(ledger.writer)}
    assert outbox["no_price"] == 1
    assert "unsent" not in outbox


def test_it_waits_however_old_it_is(ledger: TrueLedger) -> None:
    """As usage that nobody is mapped to: what a person may still find a price for is not given up by a date."""
    _use(ledger, "tokens")
    _subscribe(ledger, "basic", "runs_basic")
    assert ledger.cut(NOON_MS + 60 * DAY_MS) == 0
    assert _shown(ledger) == ["no_price"]


def test_a_price_that_comes_has_it_judged_anew(ledger: TrueLedger) -> None:
    _use(ledger, "tokens")
    _subscribe(ledger, "basic", "runs_basic")
    ledger.cut(DUE_MS)
    assert cuts.state(ledger.writer).judged is True
    _subscribe(ledger, "pro", "tokens")
    assert cuts.state(ledger.writer).judged is False
    assert ledger.cut(DUE_MS + HOUR_MS) == 1
    assert _shown(ledger) == ["in_flight"]


def test_of_a_customer_without_a_subscription_nobody_knows(ledger: TrueLedger) -> None:
    """Dispatch goes on without the reconciler; what is learnt later holds back what has not gone out yet."""
    _use(ledger, "tokens")
    assert ledger.cut(DUE_MS) == 1
    _use(ledger, "tokens", 1, USED_MS + HOUR_MS)
    assert ledger.cut(DUE_MS + 30 * MINUTE_MS) == 0
    assert [waits_for for waits_for, _deadline in _waiting(ledger)] == [None]
    _subscribe(ledger, "basic", "runs_basic")
    assert ledger.cut(DUE_MS + HOUR_MS) == 0
    assert _waiting(ledger) == [("no_price", None)]


def test_usage_of_two_running_plans_that_count_it_apart_is_ambiguous(ledger: TrueLedger) -> None:
    _use(ledger, "runs")
    _subscribe(ledger, "basic", "runs_basic")
    _subscribe(ledger, "pro", "runs_pro")
    assert ledger.cut(DUE_MS) == 0
    ((waits_for, deadline),) = _waiting(ledger)
    assert (waits_for, deadline is not None, _shown(ledger)) == ("ambiguous_plan", True, ["ambiguous_plan"])
    assert {item.state for item in arming.outbox(ledger.writer)} >= {"ambiguous_plan"}


def test_it_becomes_a_case_at_the_earliest_deadline(ledger: TrueLedger) -> None:
    _use(ledger, "runs")
    _subscribe(ledger, "basic", "runs_basic", ends_ms=NOON_MS + DAY_MS)
    _subscribe(ledger, "pro", "runs_pro")
    assert ledger.cut(NOON_MS + 2 * DAY_MS - HOUR_MS) == 0
    assert ledger.cut(NOON_MS + 2 * DAY_MS) == 1
    assert _shown(ledger) == ["in_review"]


def test_a_plan_that_ended_does_not_make_it_ambiguous(ledger: TrueLedger) -> None:
    """Also where the plan that ended was told of last."""
    _subscribe(ledger, "basic", "runs_basic")
    _subscribe(ledger, "pro", "runs_pro")
    _subscribe(ledger, "pro", "runs_pro", ends_ms=NOON_MS)
    _use(ledger, "runs")
    assert ledger.cut(DUE_MS) == 1
    assert ledger.rows("select stripe_event_name from ledger.lane") == [("runs_basic",)]


def test_once_one_of_two_ends_before_it_the_other_counts_it(ledger: TrueLedger) -> None:
    _use(ledger, "runs")
    _subscribe(ledger, "basic", "runs_basic")
    _subscribe(ledger, "pro", "runs_pro")
    assert ledger.cut(DUE_MS) == 0
    _subscribe(ledger, "basic", "runs_basic", ends_ms=NOON_MS)
    assert ledger.cut(DUE_MS + MINUTE_MS) == 1
    assert ledger.rows("select stripe_event_name from ledger.lane") == [("runs_pro",)]


@pytest.mark.parametrize(("basic_ends_ms", "pro_ends_ms"), [(NOON_MS, NOON_MS), (NOON_MS, NOON_MS + 20 * DAY_MS)])
def test_a_period_whose_successor_is_not_known_yet_runs_on(ledger: TrueLedger, basic_ends_ms: int, pro_ends_ms: int) -> None:
    """Stripe renews a moment late, or is away: until it says more, both plans may count the usage, and none is guessed."""
    _subscribe(ledger, "basic", "runs_basic", ends_ms=basic_ends_ms)
    _subscribe(ledger, "pro", "runs_pro", ends_ms=pro_ends_ms)
    _use(ledger, "runs")
    assert ledger.cut(DUE_MS) == 0
    assert [waits_for for waits_for, _deadline in _waiting(ledger)] == ["ambiguous_plan"]


def test_beside_one_that_ended_for_good_the_one_that_is_about_to_renew_counts_it(ledger: TrueLedger) -> None:
    _subscribe(ledger, "basic", "runs_basic", ends_ms=NOON_MS)
    _subscribe(ledger, "pro", "runs_pro")
    _subscribe(ledger, "pro", "runs_pro", ends_ms=NOON_MS - 12 * HOUR_MS)
    _use(ledger, "runs")
    assert ledger.cut(DUE_MS) == 1
    assert ledger.rows("select l.stripe_event_name from ledger.intent i join ledger.lane l using (lane_id)") == [("runs_basic",)]


def test_what_has_no_price_is_looked_at_once_a_meter_and_still_judged_when_one_comes(ledger: TrueLedger) -> None:
    """However many windows wait. Seen red where each is judged by itself: tens of thousands took the cutter longer than its round."""
    _use(ledger, "tokens")
    _subscribe(ledger, "basic", "runs_basic")
    ledger.cut(DUE_MS)
    ledger.admin.execute(
        """insert into ops.uncovered_segment (subject_id, segment_start, due_at, waits_for)
           select u.subject_id, u.segment_start - n * interval '5 minutes', u.due_at, 'no_price'
           from ops.uncovered_segment u, generate_series(1, 1000) n"""
    )
    ledger.admin.execute("update ops.uncovered_segment set stripe_event_name = 'a mark that a judgement takes away'")
    cuts.judge_waiting(ledger.writer)
    marks = "select count(*) from ops.uncovered_segment where stripe_event_name is not null"
    assert ledger.rows(marks) == [(1_001,)]
    _subscribe(ledger, "pro", "tokens")
    cuts.judge_waiting(ledger.writer)
    assert ledger.rows("select distinct waits_for from ops.uncovered_segment") == [(None,)]
    ledger.admin.execute("delete from ops.uncovered_segment where segment_start < (select max(segment_start) from ops.uncovered_segment)")


def test_a_meter_that_both_plans_share_is_not_ambiguous(ledger: TrueLedger) -> None:
    _use(ledger, "tokens")
    _subscribe(ledger, "basic", "tokens")
    _subscribe(ledger, "pro", "runs_pro")
    assert ledger.cut(DUE_MS) == 1


@pytest.mark.parametrize(("meter", "why"), [("tokens", "no_price"), ("runs", "ambiguous_plan")])
def test_a_flush_says_what_keeps_it(ledger: TrueLedger, meter: str, why: str) -> None:
    _use(ledger, meter)
    _subscribe(ledger, "basic", "runs_basic")
    _subscribe(ledger, "pro", "runs_pro")
    ledger.set_now(DUE_MS)
    number = flush.request(ledger.writer, "acme", "a person asked")
    ledger.cut(DUE_MS)
    assert flush.state(ledger.writer, number).refused == f"usage of {meter} waits for a person: {why}"


def test_a_straggler_behind_a_flush_does_not_refuse_it(ledger: TrueLedger) -> None:
    """What the flush is about was cut while there was a price; what came to its segment afterwards waits for one."""
    _use(ledger, "tokens")
    ledger.set_now(DUE_MS)
    number = flush.request(ledger.writer, "acme", "a person asked")
    assert ledger.cut(DUE_MS) == 1
    _use(ledger, "tokens", 1)
    _subscribe(ledger, "basic", "runs_basic")
    assert ledger.cut(DUE_MS + 10 * MINUTE_MS) == 0
    assert _waiting(ledger) == [("no_price", None)]
    assert flush.state(ledger.writer, number).refused is None
    raised = flush.request(ledger.writer, "acme", "a person asked")
    assert flush.state(ledger.writer, raised).refused == "usage of tokens waits for a person: no_price"
