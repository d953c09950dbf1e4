"""A period's way, decided from facts and a date."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from services.reconciler.core.closing import (
    BETWEEN_READS_MS,
    MINUTE_MS,
    BilledSpan,
    Invoice,
    Period,
    PeriodInvoice,
    invoice_of,
    judge,
    next_look_ms,
)

HOUR_MS = 60 * MINUTE_MS
END_MS = 1_000 * HOUR_MS
GRACE_MS = 24 * HOUR_MS
MARGIN_MS = 10 * MINUTE_MS
OPEN = Period(
    *(0, END_MS, "open", None, END_MS + GRACE_MS, "grace", MARGIN_MS),
    provable=False,
    why_not="7 unsent",
    nothing_billed=False,
    missing=True,
    foretold_ms=END_MS + GRACE_MS,
)
DRAFT = Invoice("in_1", "draft", END_MS + HOUR_MS, None)
PAID = Invoice("in_1", "paid", None, END_MS + HOUR_MS)
PROVABLE = replace(OPEN, status="closing", provable=True, why_not=None)


def test_a_period_is_open_to_its_last_millisecond():
    assert judge(OPEN, None, END_MS - 1).status == "open"
    assert judge(OPEN, None, END_MS).status == "closing"


@pytest.mark.parametrize("grace_ms", [HOUR_MS, 72 * HOUR_MS])
def test_the_deadline_is_the_drafts_own_date_less_the_margin(grace_ms: int):
    draft = replace(DRAFT, finalizes_ms=END_MS + grace_ms)
    assert (judge(OPEN, draft, END_MS).finalizes_ms, judge(OPEN, draft, END_MS).basis) == (END_MS + grace_ms, "draft")
    assert judge(OPEN, draft, END_MS + grace_ms - MARGIN_MS - 1).status == "closing"
    late = judge(OPEN, draft, END_MS + grace_ms - MARGIN_MS)
    assert (late.status, late.why) == ("not_provable", "7 unsent")


def test_without_a_draft_the_grace_says_when():
    assert judge(OPEN, None, END_MS + GRACE_MS - MARGIN_MS - 1).status == "closing"
    assert judge(OPEN, None, END_MS + GRACE_MS - MARGIN_MS).status == "not_provable"


def test_an_invoice_that_was_final_sooner_than_foretold_was_the_deadline():
    change = judge(OPEN, replace(PAID, status="open"), END_MS + 2 * HOUR_MS)
    assert (change.finalizes_ms, change.basis, change.status) == (END_MS + HOUR_MS, "draft", "not_provable")


def test_what_was_sent_is_proved_after_an_invoice_that_came_without_notice():
    """A cancellation with `invoice_now`: made, final and paid at the end itself, when nothing could be captured or compared yet."""
    now = replace(PAID, finalized_ms=END_MS)
    sent = replace(OPEN, missing=False, why_not="captured only up to 09:00", captured_by_ms=END_MS + 46 * MINUTE_MS)
    change = judge(sent, now, END_MS)
    assert (change.status, change.finalizes_ms, change.invoice_id) == ("closing", END_MS, "in_1")
    assert next_look_ms(sent, change, END_MS) == END_MS + MINUTE_MS
    later = replace(sent, status="closing", finalizes_ms=END_MS, basis="draft", captured_by_ms=END_MS)
    assert next_look_ms(later, judge(later, now, END_MS + MINUTE_MS), END_MS + MINUTE_MS) == END_MS + MINUTE_MS + BETWEEN_READS_MS
    assert judge(replace(later, provable=True, why_not=None), now, END_MS + MINUTE_MS).status == "settled"
    foretold_ms = END_MS + GRACE_MS - MARGIN_MS
    assert judge(later, now, foretold_ms - 1).status == "closing"
    # Stripe did not answer just now: its date came without notice all the same.
    assert judge(replace(later, invoice_id="in_1"), None, foretold_ms - 1).status == "closing"
    assert judge(replace(later, invoice_id="in_1"), None, foretold_ms).status == "not_provable"
    assert (judge(later, now, foretold_ms).status, judge(later, now, foretold_ms).why) == ("not_provable", "captured only up to 09:00")


def _made(invoice_id: str, created_ms: int, *spans: tuple[str, int, int], subscription: str = "sub_1") -> PeriodInvoice:
    billed = tuple([BilledSpan(*span) for span in spans])
    return PeriodInvoice(Invoice(invoice_id, "paid", None, created_ms), subscription, created_ms, billed)


SWAP_MS = END_MS - 100 * HOUR_MS


@pytest.mark.parametrize(
    ("invoices", "found"),
    [
        ([_made("in_1", END_MS, ("si_1", 0, END_MS))], "in_1"),
        # A price that was swapped without a line for what came before: the line begins at the swap.
        ([_made("in_1", END_MS, ("si_1", SWAP_MS, END_MS))], "in_1"),
        # What came before the swap was billed at once: that invoice is not the period's.
        ([_made("in_0", SWAP_MS, ("si_1", 0, SWAP_MS)), _made("in_1", END_MS, ("si_1", SWAP_MS, END_MS))], "in_1"),
        ([_made("in_0", SWAP_MS, ("si_1", 0, SWAP_MS))], None),
        # An item that was taken out has no line on the invoice that its subscription's period brings.
        ([_made("in_1", END_MS, ("si_2", SWAP_MS, END_MS))], "in_1"),
        ([_made("in_1", END_MS, ("si_2", SWAP_MS, END_MS), subscription="sub_2")], None),
        ([_made("in_2", END_MS + 720 * HOUR_MS, ("si_1", END_MS, END_MS + 720 * HOUR_MS))], None),
    ],
)
def test_the_invoice_of_a_period_is_the_one_that_bills_it_to_its_end(invoices: list[PeriodInvoice], found: str | None):
    invoice = invoice_of(invoices, "si_1", "sub_1", 0, END_MS)
    assert (None if invoice is None else invoice.invoice_id) == found


def test_a_subscription_that_ended_without_an_invoice_is_settled_when_none_can_come():
    over = replace(PROVABLE, subscription_over=True)
    assert judge(over, None, END_MS + GRACE_MS - 1).status == "closing"
    assert judge(over, None, END_MS + GRACE_MS).status == "settled"
    assert judge(PROVABLE, None, END_MS + GRACE_MS).status == "closing", "of a living one the invoice is late"


def test_provable_and_paid_is_settled():
    assert judge(PROVABLE, DRAFT, END_MS + MINUTE_MS).status == "closing"
    assert judge(PROVABLE, replace(PAID, status="open"), END_MS + HOUR_MS).status == "invoiced"
    assert judge(PROVABLE, PAID, END_MS + HOUR_MS).status == "settled"


def test_what_turned_out_not_provable_stays_so_and_learns_its_invoice():
    change = judge(replace(PROVABLE, status="not_provable"), PAID, END_MS + 30 * HOUR_MS)
    assert (change.status, change.invoice_id) == ("not_provable", "in_1")


def test_nothing_billed_needs_no_invoice():
    nothing = replace(PROVABLE, nothing_billed=True)
    assert judge(nothing, None, END_MS + GRACE_MS - 1).status == "closing"
    assert judge(nothing, None, END_MS + GRACE_MS).status == "settled"


def test_every_date_that_matters_is_looked_at():
    """From its end to its invoice a period is never left without a next look, and none is in the past."""
    period, now_ms, seen = OPEN, END_MS, []
    for _look in range(200):
        change = judge(period, DRAFT if now_ms < END_MS + HOUR_MS else PAID, now_ms)
        at_ms = next_look_ms(period, change, now_ms)
        if at_ms is None:
            break
        assert at_ms > now_ms
        seen.append(at_ms)
        period = replace(period, status=change.status, finalizes_ms=change.finalizes_ms, basis=change.basis, invoice_id=change.invoice_id)
        now_ms = at_ms
    assert END_MS + HOUR_MS - MARGIN_MS in seen, "the deadline itself"
    assert max(after - before for before, after in itertools.pairwise(seen)) <= BETWEEN_READS_MS
