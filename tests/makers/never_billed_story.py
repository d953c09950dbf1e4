"""A customer of whom 4 tokens wait and 2 come later, on a source partition of their own: never billed, all waived, no lane."""

from __future__ import annotations

from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import HOUR_MS, NOON_MS, TrueLedger
from trueup.ledger.store import customers
from trueup.ledger.store.dispatch import cuts

PARTITION = 1
EVENT_MS = NOON_MS + 4 * HOUR_MS
ARRIVAL_MS = EVENT_MS + 1_000


def never_billed_story(ledger: TrueLedger) -> None:
    """Captured, said, waived, and captured once more."""
    _use(ledger, 0, 4)
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    customers.never_bill(ledger.writer, "tester", reason="our own tests", recorded_by="test")
    cuts.judge(ledger.writer)
    assert cuts.waive(ledger.writer, "sink", 10) == 1
    _use(ledger, 1, 2)


def _use(ledger: TrueLedger, offset: int, quantity: int) -> None:
    record = make_forwarded(
        offset, make_event(f"t{offset}", customer="tester", quantity=quantity, event_time_ms=EVENT_MS), arrival_ms=ARRIVAL_MS
    )
    ledger.capture(make_announced(partition=PARTITION, first_offset=offset, on_time=[record], progress_offset=offset), partition=PARTITION)
