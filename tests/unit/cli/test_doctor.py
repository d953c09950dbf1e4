"""What the doctor makes of the grace that invoices had."""

from __future__ import annotations

import pytest

from trueup.cli.doctor import State, grace_seen

HOUR = 3600

GRACES: tuple[tuple[str, tuple[int, ...], tuple[int, ...], State], ...] = (
    ("nothing to go by", (), (), State.OK),
    ("drafts have what is declared", (24 * HOUR, 25 * HOUR), (), State.OK),
    ("one draft has less", (24 * HOUR, HOUR), (24 * HOUR,), State.WRONG),
    ("drafts outrank what was before them", (24 * HOUR,), (HOUR,), State.OK),
    ("final as late as declared", (), (24 * HOUR, 24 * HOUR + 20), State.OK),
    ("one was final earlier", (), (24 * HOUR, HOUR), State.ADVICE),
)


@pytest.mark.parametrize(("drafts", "finalized", "state"), [pytest.param(*row[1:], id=row[0]) for row in GRACES])
def test_grace_seen_at_stripe(drafts: tuple[int, ...], finalized: tuple[int, ...], state: State) -> None:
    """24 h are declared."""
    finding = grace_seen(drafts, finalized, 24 * HOUR)
    assert finding.state == state
    assert bool(finding.advice) == (state is not State.OK)
