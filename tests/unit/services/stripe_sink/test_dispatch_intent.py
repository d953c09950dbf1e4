"""What is sent for a segment, under which keys, and for how long it may be sent again."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest

from services.stripe_sink.core.dispatch_intent import HORIZON_MS, digest, draft, idempotency_key, may_send_again
from services.stripe_sink.core.dispatch_settle import Settled, Undecidable, settle
from services.stripe_sink.core.dispatch_wait import BackOff, should_cut
from trueup.ledger.intents import Coverage, UnknownIntent

START_MS = 1_790_816_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def make_coverage(**others: object) -> Coverage:
    """A segment of five minutes with 374 units in it."""
    start = EPOCH + timedelta(milliseconds=START_MS)
    coverage = Coverage(
        subject_id=1,
        customer="acme",
        meter="tokens",
        segment_start=start,
        segment_start_ms=START_MS,
        segment_end=start + timedelta(minutes=5),
        after_batch=0,
        through_batch=9,
        looked_through=9,
        cut_id=1,
        set_aside_as=None,
        whole=True,
        quantity=374,
        events=3,
        oldest_event_time=start,
        newest_event_time=start + timedelta(milliseconds=1_999),
        newest_event_time_ms=START_MS + 1_999,
        stripe_customer="cus_1",
        stripe_event_name="tokens",
        scale=0,
        now_ms=START_MS + 360_000,
    )
    return dataclasses.replace(coverage, **others)  # type: ignore[arg-type]


def test_draft_body_is_what_stripe_asks_for() -> None:
    """Strings in the payload, whole seconds, and the digest of exactly this text."""
    made = draft(make_coverage(), stripe_account="acct_1")
    assert json.loads(made.body) == {
        "event_name": "tokens",
        "identifier": made.identifier,
        "payload": {"stripe_customer_id": "cus_1", "value": "374"},
        "timestamp": START_MS // 1_000 + 1,
    }
    assert made.body_sha256 == digest(made.body)
    assert len(made.identifier) <= 100


@pytest.mark.parametrize(
    ("quantity", "scale", "text"), [(5, 2, "0.05"), (-5, 0, "-5"), (1, 9, "0.000000001"), (123_456_789_012_345, 3, "123456789012.345")]
)
def test_draft_value_is_plain_decimal_in_the_meters_unit(quantity: int, scale: int, text: str) -> None:
    """Never an exponent, never a float."""
    body = json.loads(draft(make_coverage(quantity=quantity, scale=scale), stripe_account="a").body)
    assert body["payload"]["value"] == text


def test_draft_timestamp_is_never_ahead_of_now() -> None:
    """Producers may be up to five minutes ahead."""
    made = draft(make_coverage(newest_event_time_ms=START_MS + 200_000, now_ms=START_MS + 100_500), stripe_account="a")
    assert made.stripe_timestamp_ms == START_MS + 100_000


def test_identifier_names_the_coverage_and_nothing_else() -> None:
    """The same coverage drafted again has the same identifier; what follows it has another."""
    first = draft(make_coverage(), stripe_account="a")
    assert draft(make_coverage(through_batch=12, quantity=5, now_ms=START_MS + 400_000), stripe_account="a").identifier == first.identifier
    assert draft(make_coverage(after_batch=9), stripe_account="a").identifier != first.identifier
    assert draft(make_coverage(), stripe_account="b").identifier != first.identifier


def test_idempotency_key_changes_only_with_a_stored_server_error() -> None:
    """Stripe answers a known key with what it saved, its own 500 included."""
    assert [idempotency_key("i", errors) for errors in (0, 1, 2)] == ["i", "i:1", "i:2"]


def test_horizon_begins_with_the_first_attempt_that_may_have_arrived() -> None:
    """Twenty hours, to the millisecond; without such an attempt there is none."""
    assert may_send_again(None, 10**15)
    assert may_send_again(0, HORIZON_MS - 1)
    assert not may_send_again(0, HORIZON_MS)


@pytest.mark.parametrize(
    ("quantities", "acknowledged", "stripe", "landed"),
    [
        ([5], 10, 10, set()),
        ([5], 10, 15, {1}),
        ([5, 7], 0, 7, {2}),
        ([5, 7], 0, 12, {1, 2}),
        ([5, -5], 3, 3, set()),
        ([-5], 10, 5, {1}),
    ],
)
def test_settle_summary_that_intents_explain_says_which_landed(
    quantities: list[int], acknowledged: int, stripe: int, landed: set[int]
) -> None:
    """Landed = summary − acknowledged; the rest goes out again."""
    unknown = [UnknownIntent(number, quantity) for number, quantity in enumerate(quantities, 1)]
    found = settle(unknown, acknowledged=acknowledged, stripe=stripe)
    assert isinstance(found, Settled)
    assert found.landed == landed
    assert found.quantity_landed + found.quantity_remainder == sum(quantities)
    assert found.quantity_landed == stripe - acknowledged


@pytest.mark.parametrize(
    ("quantities", "acknowledged", "stripe", "reason"),
    [
        ([5], 10, 16, "stripe_has_more"),
        ([5], 10, 9, "stripe_has_less"),
        ([5, 7], 0, 6, "no_set_explains_summary"),
    ],
)
def test_settle_summary_that_nothing_explains_is_for_a_person(quantities: list[int], acknowledged: int, stripe: int, reason: str) -> None:
    """Outside of what the unknown intents can explain, nothing is guessed."""
    unknown = [UnknownIntent(number, quantity) for number, quantity in enumerate(quantities, 1)]
    assert settle(unknown, acknowledged=acknowledged, stripe=stripe) == Undecidable(reason)


def test_back_off_doubles_to_its_limit_and_is_jittered() -> None:
    """Each wait is between half and all of the doubled one."""
    waits = BackOff(first_seconds=1.0, longest_seconds=10.0)
    assert [waits.seconds(failures, 0.0) for failures in (1, 2, 3, 4, 5, 2_000)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert waits.seconds(1, 0.999) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("newest", "discovered", "due", "since_cut", "cut"),
    [
        (5, 5, None, 9.0, False),  # nothing new
        (6, 5, None, 9.0, False),  # new batches, none to unsent
        (6, 5, 100, 0.0, True),  # due now
        (6, 5, 101, 0.0, False),  # due later, cut a moment ago
        (6, 5, 101, 2.0, True),  # due later, but the look behind the cut must stay short
        (20_000, 5, None, 0.0, True),
    ],
)
def test_should_cut_only_when_it_is_worth_the_barrier(newest: int, discovered: int, due: int | None, since_cut: float, cut: bool) -> None:
    """A cut holds everybody up for a moment."""
    assert cut is should_cut(newest_batch=newest, discovered_through=discovered, fresh_due_ms=due, now_ms=100, seconds_since_cut=since_cut)
