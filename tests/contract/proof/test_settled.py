"""Usage whose answer never came, settled by reading Stripe: the proof holds, and the life of an event tells both journeys."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import Database
from tests.makers.true_ledger import ACK, HOUR_MS, NOON_MS, UNKNOWN, TrueLedger, hours, true_ledger
from tests.makers.usage_story import captured_story
from trueup.ledger.store import capture, journey, proof

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


@pytest.mark.parametrize(("landed", "right", "wrong"), [(0, 2, 7), (0, 2, 4), (9, 4, 7), (9, 4, 2)])
def test_what_a_reading_settled_may_stand_in_no_other_account(ledger: TrueLedger, landed: int, right: int, wrong: int):
    """What had not landed and is called refused, say, would never be sent again."""
    ledger.settle(landed, SETTLED_MS)
    assert "outcome_state_machine" not in _violated(ledger)
    with psycopg.connect(ledger.database.dsn, autocommit=True) as hand:
        hand.execute("alter table ledger.posting disable trigger user")
        moved = hand.execute(
            """update ledger.posting p set to_account = %s where p.from_account = 3 and p.to_account = %s and p.intent_id = (
                   select min(o.intent_id) from ledger.outcome o where o.class = 'settled' and o.may_have_arrived = %s
               )""",
            (wrong, right, landed > 0),
        )
        assert moved.rowcount == 1
        hand.execute("alter table ledger.posting enable always trigger refuse_row_change")
        hand.execute("alter table ledger.posting enable always trigger refuse_truncate")
    assert "outcome_state_machine" in _violated(ledger)


def test_a_new_ledger_on_topics_that_begin_later_has_no_gap(ledger: TrueLedger):
    """Retention took what came before: where nothing was captured of a partition yet, its beginning is where it is read from."""
    capture.claim(ledger.writer, "room", 3, {"usage.progress.v1": 500})
    assert _violated(ledger) == []
    ledger.admin.execute("update ops.source_offset set next_offset = 501 where next_offset = 500")
    assert _violated(ledger) == ["source_without_gap"]
