"""Usage whose answer never came, settled by reading Stripe: the proof holds, and the life of an event tells both journeys."""

from __future__ import annotations

import pytest

from tests.conftest import Database
from tests.makers.true_ledger import ACK, HOUR_MS, NOON_MS, UNKNOWN, TrueLedger, hours, true_ledger
from tests.makers.usage_story import captured_story
from trueup.ledger.store import journey, proof

SENT_MS = NOON_MS + 2 * HOUR_MS
# Stripe stops remembering identifiers 24 h after a call; we stop sending after 20.
SETTLED_MS = SENT_MS + 23 * HOUR_MS


@pytest.fixture
def ledger(database: Database):
    with true_ledger(database) as made:
        captured_story(made)
        made.arm()
        made.cut(SENT_MS)
        made.send(UNKNOWN, SENT_MS)
        yield made


def _violated(ledger: TrueLedger) -> list[str]:
    return [check.check_name for check in proof.prove(ledger.writer, deep=True).checks if check.status == "violated"]


def test_what_did_not_land_goes_out_again(ledger: TrueLedger):
    ledger.settle(0, SETTLED_MS)
    assert ledger.cut(SETTLED_MS + HOUR_MS) > 0
    ledger.send(ACK, SETTLED_MS + HOUR_MS)
    ledger.read("tokens", hours((0, 9), (1, 100)), SETTLED_MS + 5 * HOUR_MS)
    ledger.read("seconds", hours((0, 150)), SETTLED_MS + 5 * HOUR_MS)
    steps = [step.step for step in journey.explain(ledger.writer, "inference", "e2")]
    assert steps.count("cut") == 2
    assert steps[-1] == "summarized"
    details = " | ".join(step.detail for step in journey.explain(ledger.writer, "inference", "e2"))
    assert "settled; not landed" in details
    assert _violated(ledger) == []
    assert ledger.rows("select count(*) from finance.unbilled_usage where state in ('unknown', 'in_flight', 'unsent')") == [(0,)]


def test_what_landed_is_acknowledged(ledger: TrueLedger):
    ledger.settle(9, SETTLED_MS)
    ledger.read("tokens", hours((0, 9)), SETTLED_MS + 3 * HOUR_MS)
    steps = [step.detail for step in journey.explain(ledger.writer, "inference", "e2")]
    assert any("settled; landed" in step for step in steps)
    assert "Stripe counts 9, 9 acknowledged: agrees" in steps[-1]
    assert [name for name in _violated(ledger) if name != "hours_equal_summaries"] == []
