"""What lies further back than its meter's horizon goes to a person, not to Stripe, which would refuse it."""

from __future__ import annotations

import pytest

from tests.contract.ledger.test_shared_event_names import apply_second, ledger, use
from tests.makers.true_ledger import ACK, CATALOGUE_TOML, HOUR_MS, MINUTE_MS, NOON_MS, RETRY, TrueLedger
from trueup.ledger.store.dispatch import cuts, lanes

DAY_MS = 24 * HOUR_MS
SHORT = CATALOGUE_TOML.replace('[meter.tokens]\nunit = "token"', '[meter.tokens]\nunit = "token"\nhorizon = "P10D"')
OUTCOMES = "select class from ledger.outcome order by outcome_id"
IN_REVIEW = "select coalesce(sum(quantity), 0)::bigint from ledger.posting where to_account = 8"

__all__ = ["ledger"]


def _end(ledger: TrueLedger, now_ms: int) -> int:
    """A round of the cutter at a date: judge, give to a person what is too old."""
    ledger.set_now(now_ms)
    cuts.judge(ledger.writer)
    return lanes.expire(ledger.writer, "sink")


@pytest.mark.parametrize(("days", "outcome"), [(33, "ack"), (35, "expired")])
def test_usage_that_was_unmapped_until_it_was_too_old_is_a_case(ledger: TrueLedger, days: int, outcome: str) -> None:
    use(ledger, "initech", "tokens", 7)
    assert ledger.cut(NOON_MS + days * DAY_MS) == 0, "it waits for its customer, however old it is"
    ledger.map("initech")
    assert ledger.cut(NOON_MS + days * DAY_MS + HOUR_MS) == 1
    calls = ledger.send(ACK, NOON_MS + days * DAY_MS + HOUR_MS)
    assert (len(calls), ledger.rows(OUTCOMES), ledger.rows(IN_REVIEW)) == (days == 33, [(outcome,)], [(7 if days == 35 else 0,)])


def test_what_was_cut_and_not_sent_until_it_was_too_old_is_a_case(ledger: TrueLedger) -> None:
    """Throttled all the time: no call of it arrived."""
    use(ledger, "acme", "tokens", 7)
    assert ledger.cut(NOON_MS + HOUR_MS) == 1
    ledger.send(RETRY, NOON_MS + 33 * DAY_MS)
    assert _end(ledger, NOON_MS + 34 * DAY_MS - MINUTE_MS) == 0
    assert _end(ledger, NOON_MS + 34 * DAY_MS) == 1
    assert (ledger.rows(OUTCOMES), ledger.rows(IN_REVIEW)) == ([("retry",), ("expired",)], [(7,)])


def test_the_horizon_is_that_of_the_version_in_force(ledger: TrueLedger) -> None:
    """A shorter one counts from the date on which it is in force, and no call before that was wrong."""
    use(ledger, "acme", "tokens", 1)
    use(ledger, "acme", "seconds", 2)
    assert ledger.cut(NOON_MS + 20 * DAY_MS) == 2
    assert len(ledger.send(ACK, NOON_MS + 20 * DAY_MS)) == 2
    use(ledger, "globex", "tokens", 4)
    apply_second(ledger, SHORT, NOON_MS + 20 * DAY_MS)
    assert ledger.cut(NOON_MS + 20 * DAY_MS + 30_000) == 0, "not due yet"
    state = cuts.state(ledger.writer)
    assert state.judged
    ledger.set_now(NOON_MS + 20 * DAY_MS + MINUTE_MS)
    assert not cuts.state(ledger.writer).judged, "another version decides from here on"
    assert ledger.cut(NOON_MS + 20 * DAY_MS + HOUR_MS) == 1
    assert ledger.send(ACK, NOON_MS + 20 * DAY_MS + HOUR_MS) == []
    assert ledger.rows(OUTCOMES) == [("ack",), ("ack",), ("expired",)]
    assert ledger.rows("select status from finance.proof where check_name = 'nothing_past_horizon'") == [("ok",)]


def test_the_horizon_is_asked_right_before_the_call(ledger: TrueLedger) -> None:
    """A lane may be leased long before its call is made."""
    use(ledger, "acme", "tokens", 7)
    assert ledger.cut(NOON_MS + HOUR_MS) == 1
    ledger.set_now(NOON_MS + 34 * DAY_MS - 1_000)
    (call,) = lanes.claim(ledger.writer, "sink", lease_seconds=60.0, most=1, key_of=lambda pick: pick.identifier)
    assert lanes.may_send(ledger.writer, call.pick)
    ledger.set_now(NOON_MS + 34 * DAY_MS)
    assert not lanes.may_send(ledger.writer, call.pick)
