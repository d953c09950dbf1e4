"""A producer that repeats itself repeats its contradiction too: the case says what is contradicted, once."""

from __future__ import annotations

from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import true_ledger


def test_a_second_payload_that_comes_again_does_not_grow_its_case(database: Database) -> None:
    with true_ledger(database) as ledger:
        told = [("a", 14), ("a", 15), ("a", 15), ("a", 16), ("b", 5), ("b", 6)]
        records = [make_forwarded(offset, make_event(id, quantity=quantity)) for offset, (id, quantity) in enumerate(told)]
        ledger.capture(make_announced(on_time=records))
        ledger.capture(make_announced(first_offset=6, progress_offset=1, on_time=[make_forwarded(6, make_event("a", quantity=15))]))
        assert ledger.rows("select count(*) from ledger.conflict") == [(5,)]
        cases = ledger.rows("select kind, quantity::int, event_count from finance.review_queue")
        assert cases == [("conflict", 15 + 16 + 6, 3)]
