"""Which explanations make `trueup reconcile` say no."""

from __future__ import annotations

import re

import pytest

from trueup.cli.proving import alarms
from trueup.ledger.store import queries, reconciliation


@pytest.mark.parametrize(
    ("explanation", "alarming"),
    [
        ("agrees", False),
        ("in_flight", False),
        ("not_settled", False),
        ("rejected", True),
        ("unknown_outcome", False),
        ("late_after_close", False),
        ("foreign_event", True),
        ("sent_twice", True),
        ("window_edge", True),
        ("unexplained", True),
    ],
)
def test_what_is_on_its_way_is_no_alarm(explanation: str, alarming: bool):
    assert bool(alarms([{"explanation": explanation}])) is alarming


def test_the_command_and_the_proof_mean_the_same():
    view = (queries.QUERIES.parent / "views" / "72_check_dispatch.sql").read_text()
    (listed,) = re.findall(r"explanation in \(([^)]*)\) or not h\.exact", view)
    assert {name.strip(" '") for name in listed.split(",")} == reconciliation.ALARMING
