"""What the doctor makes of the grace that invoices had, and of the webhook endpoints of an account."""

from __future__ import annotations

import pytest

from trueup.cli.doctor import WEBHOOKS_NEEDED, Endpoint, State, grace_seen, webhooks_found

HOUR = 3600

GRACES: tuple[tuple[str, tuple[int, ...], tuple[int, ...], State], ...] = (
    ("nothing to go by", (), (), State.ADVICE),
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


OURS, FOREIGN = "https://billing.example/webhooks/stripe", "https://crm.example/stripe"
ENDPOINTS: tuple[tuple[str, tuple[Endpoint, ...], dict[str, State]], ...] = (
    ("there is none", (), {"webhooks": State.WRONG}),
    ("ours hears all", (Endpoint(OURS, "enabled", ("*",)),), {"webhooks": State.OK}),
    ("ours hears what is needed", (Endpoint(OURS + "/", "enabled", WEBHOOKS_NEEDED),), {"webhooks": State.OK}),
    ("ours lacks one", (Endpoint(OURS, "enabled", WEBHOOKS_NEEDED[1:]),), {"webhooks": State.WRONG}),
    (
        "somebody else's hears what ours lacks",
        (Endpoint(OURS, "enabled", WEBHOOKS_NEEDED[1:]), Endpoint(FOREIGN, "enabled", ("*",))),
        {"webhooks": State.WRONG},
    ),
    (
        "ours is disabled, somebody else's is not",
        (Endpoint(OURS, "disabled", ("*",)), Endpoint(FOREIGN, "enabled", ("*",))),
        {f"webhook {OURS}": State.ADVICE, "webhooks": State.WRONG},
    ),
    (
        "behind a proxy, or somebody else's only",
        (Endpoint(FOREIGN, "enabled", ("*",)),),
        {"webhooks' paths": State.ADVICE, "webhooks": State.OK},
    ),
)


@pytest.mark.parametrize(("endpoints", "found"), [pytest.param(*row[1:], id=row[0]) for row in ENDPOINTS])
def test_webhooks_found_at_stripe(endpoints: tuple[Endpoint, ...], found: dict[str, State]) -> None:
    findings = list(webhooks_found(endpoints))
    assert {finding.what: finding.state for finding in findings} == found
    assert all(bool(finding.advice) == (finding.state is not State.OK) for finding in findings)
