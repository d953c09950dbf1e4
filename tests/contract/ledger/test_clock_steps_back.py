"""A clock that steps back between a request for a flush and its cut, as after a failover to a server whose clock is behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import MINUTE_MS, NOON_MS, TrueLedger, true_ledger
from trueup.ledger.store import flush


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Armed, with one mapped customer."""
    with true_ledger(database) as made:
        made.map("acme")
        made.arm()
        yield made


def test_a_flush_hurries_nothing_that_has_not_begun_by_now(ledger: TrueLedger) -> None:
    """Stripe takes no date ahead of its own; what the flush asked for goes out once its window has begun again."""
    used_ms = NOON_MS + 16 * MINUTE_MS
    event = make_forwarded(0, make_event("e0", event_time_ms=used_ms, quantity=7), arrival_ms=used_ms)
    ledger.capture(make_announced(first_offset=0, on_time=[event], progress_offset=0))
    assert ledger.cut(used_ms) == 0
    flush.request(ledger.writer, "acme", "a person asked")
    assert flush.pending(ledger.writer)
    ledger.set_now(NOON_MS + 14 * MINUTE_MS)
    assert not flush.pending(ledger.writer)
    assert flush.hasten(ledger.writer) == 0
    ledger.set_now(used_ms)
    assert flush.hasten(ledger.writer) == 1
    assert ledger.cut(used_ms) == 1
