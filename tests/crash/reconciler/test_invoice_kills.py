"""The reconciler killed between an invoice and its postings: whoever goes on posts each item once, to the unit and to the cent."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.makers.dispatch_world import HOUR_MS, MINUTE_MS, DispatchWorld
from tests.makers.period_world import invoicing
from tests.system.reconciler.test_invoices import LINES, USED, WEEK_SECONDS, _checks, _go_to, _lines, _period_end_ms

POSTED = {"after_read": 0, "in_posting": 1, "after_post": 2}


@pytest.mark.parametrize("place", POSTED)
def test_killed_around_a_posting_it_goes_on_where_it_was(month: DispatchWorld, place: str) -> None:
    _go_to(month, _period_end_ms(month) + HOUR_MS + MINUTE_MS)
    command = [sys.executable, "-m", "tests.makers.reconciler_process", month.database.writer_dsn, month.emulator.url, place]
    killed = subprocess.run([*command, str(month.now_ms)], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    # The invoice is kept; of its items as many are posted as were committed, whole.
    assert month.rows("select status from derived.invoice") == [("paid",)]
    assert month.rows("select count(*) from ledger.invoice_posting") == [(POSTED[place],)]
    assert month.rows("select count(*) from ledger.batch where kind = 'invoice'") == [(POSTED[place],)]
    assert _checks(month)["lines_equal_ledger"] == (5, 0, 5 - POSTED[place])
    assert sum(month.account(name) for name in ("acknowledged", "invoiced", "missed_invoice")) == sum(USED.values())
    with invoicing(month, WEEK_SECONDS) as room:
        assert room.step(month.now_ms).reads == 0, "it was read already"
        assert room.post() == 0
    assert _lines(month) == LINES
    assert month.account("invoiced") == 109 + 1001 + 9 + 30
    assert (month.account("missed_invoice"), month.account("acknowledged")) == (-5, 0)
    assert _checks(month)["lines_equal_ledger"] == (5, 0, 0)
    assert month.rows("select count(*), count(distinct subscription_item_id) from ledger.invoice_posting") == [(5, 5)]
