"""Where captured usage goes first."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from services.stripe_sink.core import capture
from services.stripe_sink.core.capture_destination import Closing, Why, destination
from tests.makers.capture_batches import CATALOGUE_TOML, NOON_MS, make_announced, make_event, make_forwarded, make_timeline
from trueup.contracts.catalogue import parse
from trueup.contracts.periods import BillingPeriod, Calendar
from trueup.ledger.accounts import Account

LATE_TOML = """
[[policy.late]]
below_quantity = 10
then = "accept"
[[policy.late]]
below_quantity = 20
then = "waive"
[[policy.late]]
below_quantity = 30
then = "charge-next"
[[policy.late]]
then = "review"
"""
DAY_MS = 86_400_000
BOUNDARY_MS = NOON_MS + 137_000  # 2 minutes 17 into a window of five
DEADLINE_MS = BOUNDARY_MS + DAY_MS


def _where(
    quantity: int, *, late: bool, deadline_ms: int | None, now_ms: int, scale: int = 0, never_billed: bool = False
) -> tuple[Account, Why | None]:
    catalogue = parse(CATALOGUE_TOML.replace("scale = 0", f"scale = {scale}") + LATE_TOML)
    return destination(
        never_billed=never_billed,
        late=late,
        deadline_ms=deadline_ms,
        now_ms=now_ms,
        billable_quantity=quantity,
        meter=catalogue.meters["tokens"],
        catalogue=catalogue,
    )


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (9, (Account.UNSENT, Why.LATE_ACCEPTED)),
        (-9, (Account.UNSENT, Why.LATE_ACCEPTED)),
        (10, (Account.WAIVED, Why.LATE_WAIVED)),
        (20, (Account.IN_REVIEW, None)),
        (30, (Account.IN_REVIEW, None)),
    ],
)
def test_late_usage_follows_the_policy_while_its_deadline_is_ahead(quantity: int, expected: tuple[Account, Why | None]):
    assert _where(quantity, late=True, deadline_ms=DEADLINE_MS, now_ms=DEADLINE_MS - 1) == expected
    assert _where(quantity, late=True, deadline_ms=DEADLINE_MS, now_ms=DEADLINE_MS) == (Account.IN_REVIEW, None)
    assert _where(quantity, late=True, deadline_ms=None, now_ms=0) == (Account.IN_REVIEW, None)


def test_the_policy_counts_in_the_meters_unit():
    assert _where(999, late=True, deadline_ms=DEADLINE_MS, now_ms=0, scale=2)[1] is Why.LATE_ACCEPTED
    assert _where(1_000, late=True, deadline_ms=DEADLINE_MS, now_ms=0, scale=2)[1] is Why.LATE_WAIVED


def test_usage_on_time_goes_out_until_its_deadline():
    assert _where(7, late=False, deadline_ms=None, now_ms=0) == (Account.UNSENT, None)
    assert _where(7, late=False, deadline_ms=DEADLINE_MS, now_ms=DEADLINE_MS - 1) == (Account.UNSENT, None)
    assert _where(7, late=False, deadline_ms=DEADLINE_MS, now_ms=DEADLINE_MS) == (Account.IN_REVIEW, Why.PAST_DEADLINE)


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("deadline_ms", [None, DEADLINE_MS])
@pytest.mark.parametrize("now_ms", [0, DEADLINE_MS])
@pytest.mark.parametrize("quantity", [7, -7, 30])
def test_usage_of_who_is_never_billed_is_waived_whenever_it_comes(late: bool, deadline_ms: int | None, now_ms: int, quantity: int):
    where = _where(quantity, late=late, deadline_ms=deadline_ms, now_ms=now_ms, never_billed=True)
    assert where == (Account.WAIVED, Why.NEVER_BILLED)


def test_of_one_batch_only_their_usage_is_waived_and_none_from_before_billing_began():
    text = CATALOGUE_TOML + 'bill_from = "2026-09-21T14:00:10Z"\n'
    records = [
        make_forwarded(0, make_event("before", event_time_ms=NOON_MS, quantity=1, customer="tester")),
        make_forwarded(1, make_event("tester", event_time_ms=NOON_MS + 10_000, quantity=2, customer="tester")),
        make_forwarded(2, make_event("acme", event_time_ms=NOON_MS + 10_000, quantity=4)),
    ]
    closing = Closing(NOON_MS + 1_000, never_billed=frozenset({"tester"}))
    decision = capture.decide([capture.slice_of(make_announced(on_time=records), make_timeline(text), closing)], {})
    assert {(p.customer, p.to_account, p.quantity) for p in decision.postings} == {
        ("tester", Account.SHADOW, 1),
        ("tester", Account.WAIVED, 2),
        ("acme", Account.UNSENT, 4),
    }
    assert [(row.customer, row.to_account, row.why) for row in decision.diverted] == [
        ("tester", Account.SHADOW, "before_bill_from"),
        ("tester", Account.WAIVED, "never_billed"),
    ]


def test_segments_are_cut_at_the_boundary_and_its_second_belongs_to_the_later_period():
    before = BillingPeriod(BOUNDARY_MS - 30 * DAY_MS, BOUNDARY_MS, NOON_MS)  # its deadline has passed
    after = BillingPeriod(BOUNDARY_MS, BOUNDARY_MS + 30 * DAY_MS, DEADLINE_MS)
    closing = Closing(NOON_MS + 1_000, MappingProxyType({("acme", "tokens"): Calendar((before, after))}))
    records = [
        make_forwarded(0, make_event("last", event_time_ms=BOUNDARY_MS - 1, quantity=1)),
        make_forwarded(1, make_event("first", event_time_ms=BOUNDARY_MS, quantity=2)),
        make_forwarded(2, make_event("other", event_time_ms=BOUNDARY_MS, quantity=4, customer="globex")),
    ]
    decision = capture.decide([capture.slice_of(make_announced(on_time=records), make_timeline(), closing)], {})
    posted = {(p.customer, p.segment_start_ms, p.segment_end_ms, p.to_account, p.quantity) for p in decision.postings}
    assert posted == {
        ("acme", NOON_MS, BOUNDARY_MS, Account.IN_REVIEW, 1),
        ("acme", BOUNDARY_MS, NOON_MS + 300_000, Account.UNSENT, 2),
        ("globex", NOON_MS, NOON_MS + 300_000, Account.UNSENT, 4),
    }
    assert [(row.identity, row.why) for row in decision.diverted] == [
        (row.identity, Why.PAST_DEADLINE) for row in decision.events if row.id == "last"
    ]
