"""The closing table says yes only when every place agrees: each single fault turns its line to NO."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from devstack.demo.closing import ACCOUNTS, HEADINGS, Line, rendered, totals
from devstack.demo.judgement import Judgement, Outcome
from devstack.demo.running import nothing_pending

GOOD = Line(
    customer="acme",
    meter="audio_seconds",
    scale=3,
    truth=12_500,
    accounts={"acknowledged": 1_000, "invoiced": 11_000, "in_review": 500},
    summaries=Decimal(12_000),
    invoices=Decimal(11_000),
    preview=Decimal(1_000),
    books=Decimal(12_000),
    late=500,
    owed_minor=385,
    billed_minor=385,
)


def test_a_line_agrees_when_truth_accounts_and_stripe_do() -> None:
    """In the meter's unit, exact."""
    assert GOOD.agrees
    row = GOOD.as_row()
    assert (row["truth"], row["invoiced"], row["in_review"], row["summaries"]) == ("12.500", "11.000", "0.500", "12.000")
    assert (row["invoices"], row["preview"], row["owed"], row["billed"]) == ("11.000", "1.000", "385", "385")


def test_a_check_that_still_waits_is_no_answer() -> None:
    """The proof's own heading has a column of that name."""
    heading = "check_name\tstatus\tevaluated\tviolations\tpending\n"
    assert nothing_pending(heading + "chain_sealed\tok\t7\t0\t0\n")
    assert not nothing_pending(heading + "chain_sealed\tok\t7\t0\t0\nhours_equal_summaries\tpending\t7\t0\t2\n")
    assert not nothing_pending(heading)


@pytest.mark.parametrize(
    "broken",
    [
        replace(GOOD, truth=12_501),
        replace(GOOD, accounts={**GOOD.accounts, "in_review": 499}),
        replace(GOOD, accounts={**GOOD.accounts, "acknowledged": 999, "invoiced": 11_001}),
        replace(GOOD, invoices=Decimal(11_001)),
        pytest.param(
            replace(
                GOOD,
                accounts={"acknowledged": 1_000, "invoiced": 10_999, "in_review": 501},
                invoices=Decimal(10_999),
                summaries=Decimal(11_999),
                books=Decimal(11_999),
            ),
            id="a unit in time stands before a person, everywhere",
        ),
        replace(GOOD, summaries=Decimal(11_999)),
        replace(GOOD, summaries=Decimal("12000.4")),
        replace(GOOD, preview=Decimal(0)),
        replace(GOOD, books=Decimal(24_000)),
        replace(GOOD, accounts={"acknowledged": 1_000, "invoiced": 11_000, "unsent": 500}),
        replace(GOOD, accounts={"acknowledged": 1_000, "invoiced": 11_000, "in_flight": 500}),
        replace(GOOD, accounts={"acknowledged": 1_000, "invoiced": 11_000, "rejected": 500}),
        replace(GOOD, accounts={"acknowledged": 1_000, "invoiced": 11_000, "missed_invoice": 500}),
        replace(GOOD, billed_minor=384),
        replace(GOOD, owed_minor=None),
    ],
)
def test_one_unit_off_anywhere_is_a_no(broken: Line) -> None:
    """Also where two faults would cancel out in the sum, as with usage that still hangs somewhere."""
    assert not broken.agrees
    assert "NO" in rendered([broken.as_row()], HEADINGS)


def test_every_account_of_the_contract_is_a_column() -> None:
    """A quantity in an account that is not shown would be missed by whoever reads the table."""
    assert [heading for heading in HEADINGS if heading in ACCOUNTS] == list(ACCOUNTS)
    assert len(ACCOUNTS) == 11


def test_totals_are_per_meter_and_hide_nothing() -> None:
    """Two customers whose faults cancel out still fail line by line."""
    low, high = replace(GOOD, truth=12_499), replace(GOOD, customer="globex", truth=12_501)
    (total,) = totals([low, high])
    assert total.agrees
    assert not Judgement([low, high], [Outcome("x", 1, 1)], "", proved=True).agrees


def test_a_judgement_needs_lines_outcomes_and_proof() -> None:
    """Nothing to agree on is not agreement."""
    good = [Outcome("deliveries", 5, 5)]
    assert Judgement([GOOD], good, "", proved=True).agrees
    assert not Judgement([], good, "", proved=True).agrees
    assert not Judgement([GOOD], [Outcome("deliveries", 5, 4)], "", proved=True).agrees
    assert not Judgement([GOOD], good, "", proved=False).agrees
