"""`trueup reconcile` and `trueup prove`: whether it is all there, and whether that can be shown."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC
from typing import Annotated, Any

import typer

from services.reconciler.app.reconcile_now import reconcile_now
from trueup.cli.faults import AnswerIsNo, UsageFault
from trueup.cli.options import AsJson, instant_option
from trueup.cli.output import emit_rows, say
from trueup.cli.target import find_target, ledger
from trueup.ledger.store import proof, reconciliation

DIFFERENCE_COLUMNS = (
    "customer_id",
    "meter",
    "hour_start",
    "quantity_ledger",
    "quantity_acknowledged",
    "quantity_in_flight",
    "quantity_stripe",
    "difference",
    "explanation",
    "settled",
)
AGREES = "agrees"
PROOF_COLUMNS = ("check_name", "status", "evaluated", "violations", "pending", "oldest_pending_at", "meaning")
ALL = "all"


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command("reconcile")(reconcile)
    app.command("prove")(prove)


def reconcile(
    customer: Annotated[str | None, typer.Option("--customer", help="Only this customer of ours.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Only hours from this instant on.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Only hours before this instant.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show the hours that agree, too; --json always does.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read Stripe now and explain every difference. Exit 1 when one is no work on its way, as the proof has it."""
    from_ms, to_ms = instant_option(from_, "--from"), instant_option(to, "--to")
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise UsageFault("--to is not after --from")
    target = find_target()
    settings = target.settings
    settings.require("stripe_api_key")
    # Asked first, so that a ledger that is away or of another version says so at once.
    ledger(target).close()
    try:
        rows = [asdict(row) for row in reconcile_now(settings, customer, from_ms, to_ms)]
    except LookupError as nobody:
        emit_rows([], DIFFERENCE_COLUMNS, as_json=as_json)
        raise AnswerIsNo(str(nobody)) from nobody
    differing = [row for row in rows if row["explanation"] != AGREES]
    emit_rows(rows if every or as_json else differing, DIFFERENCE_COLUMNS, as_json=as_json)
    found = alarms(rows)
    if found:
        kinds = sorted({row["explanation"] for row in found})
        raise AnswerIsNo(f"{len(found)} of {len(rows)} hours: {', '.join(kinds)}")
    say(f"{len(rows)} hours compared: {len(rows) - len(differing)} agree, {len(differing)} differ for a known reason.")


def alarms(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The hours that are wrong: what is on its way explains itself, what came after its period's close agrees with Stripe."""
    return [row for row in rows if row["explanation"] in reconciliation.ALARMING]


def prove(
    deep: Annotated[bool, typer.Option("--deep", help="Also rebuild the books from the events.")] = False,
    require: Annotated[str | None, typer.Option("--require", help="all: a check with nothing to evaluate is a failure too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check every claim of the pipeline in one snapshot. Exit 1 when one is violated or can't be shown."""
    if require not in (None, ALL):
        raise UsageFault(f"--require takes {ALL!r}, not {require!r}")
    with ledger(find_target()) as connection:
        proved = proof.prove(connection, deep=deep)
    rows = [without_internals(asdict(check)) for check in proved.checks]
    emit_rows(rows, PROOF_COLUMNS, as_json=as_json)
    failed = proof.failures(proved.checks, require_all=require == ALL)
    if failed:
        raise AnswerIsNo(f"not proved: {', '.join(told(check) for check in failed)}")
    say(f"Proved: {len(rows)} checks over {sum(row['evaluated'] for row in rows)} things.")


def told(check: proof.Check) -> str:
    """A check that failed, and by what: something that waited past its limit is violated without a violation."""
    counts = {"violations": check.violations, "stale": check.stale, "pending": check.pending}
    shown = [f"{count} {name}" for name, count in counts.items() if count]
    since = [] if check.oldest_pending_at is None else [f"the oldest since {check.oldest_pending_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"]
    return f"{check.check_name} is {check.status}" + (f" ({', '.join(shown + since)})" if shown else "")


def without_internals(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of view finance.proof in the contract's order."""
    return {name: value for name, value in row.items() if name not in {"stale", "required"}}
