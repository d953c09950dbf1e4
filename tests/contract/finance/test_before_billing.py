"""Usage from before `bill_from`, late or not: looked at, and on nobody's desk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import CATALOGUE_TOML, HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, true_ledger
from trueup.contracts.catalogue import FROM_THE_BEGINNING_MS, Timeline, parse
from trueup.ledger.store import proof
from trueup.runtime.clock import rfc3339


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Billing begins at noon."""
    with true_ledger(database) as made:
        text = CATALOGUE_TOML + f'bill_from = "{rfc3339(NOON_MS)}"\n'
        made.timeline = Timeline.from_appended([(1, FROM_THE_BEGINNING_MS, parse(text))])
        made.map("acme")
        yield made


def test_it_is_no_case_and_counts_nowhere(ledger: TrueLedger) -> None:
    events = [make_event(f"e{minutes}", event_time_ms=NOON_MS - minutes * MINUTE_MS, quantity=7) for minutes in (1, 300, -1)]
    on_time, late, billed = [make_forwarded(offset, event, arrival_ms=NOON_MS + MINUTE_MS) for offset, event in enumerate(events)]
    ledger.capture(make_announced(on_time=[on_time, billed], late=[late]))
    ledger.set_now(NOON_MS + HOUR_MS)
    assert ledger.rows("select * from finance.review_queue") == []
    journey = "select event_id, split_part(detail, ';', 1) from finance.event_journey where step = 'posted' order by 1"
    assert ledger.rows(journey) == [
        ("e-1", "usage to unsent"),
        ("e1", "usage to shadow (before_bill_from)"),
        ("e300", "usage to shadow (before_bill_from)"),
    ]
    seen = ledger.rows("select id, to_account from derived.customer_event order by 1")
    assert seen == [("e-1", 2), ("e1", 12), ("e300", 12)]
    checks = proof.prove(ledger.writer, deep=True).checks
    assert [check.check_name for check in checks if check.violations] == []
