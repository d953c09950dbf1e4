"""`trueup up`, `down` and `status`: the whole street on this machine, kept running for play."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from trueup.cli.faults import AnswerIsNo, UsageFault
from trueup.cli.options import AsJson, instant_option
from trueup.cli.output import emit_record, emit_rows, say

COLUMNS = ("name", "pid", "address", "healthy", "restarts", "why")
T = TypeVar("T")


class ClockKind(StrEnum):
    """Where the street's dates come from."""

    SYSTEM = "system"
    SIMULATED = "simulated"


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)


def embedded() -> Any:
    """The embedded street. It is asked for only here: a deployment that uses its own parts need not have it installed."""
    try:
        from devstack import background
    except ImportError as missing:
        raise UsageFault(
            f"the local street is not installed ({missing.name} is missing): pip install '.[street,devstack]' in a clone"
        ) from missing
    return background


def asked(call: Callable[[], T], street: Any) -> T:
    """Runs a call of the street; what stands in its way is an answer, not a crash."""
    try:
        return call()
    except street.StreetError as fault:
        raise AnswerIsNo(str(fault)) from fault


def up(
    clock: Annotated[ClockKind, typer.Option("--clock", help="Where dates come from.")] = ClockKind.SYSTEM,
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", help="Instead of the example.", exists=True, dir_okay=False, readable=True)
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep the data in this folder, over `down` and `up`.", file_okay=False)
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", help="Where a simulated clock begins; else the first of the last whole month.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start the street and say where everything is. One that runs is left alone."""
    if start is not None and clock is not ClockKind.SIMULATED:
        raise UsageFault("--start is for --clock simulated: the machine's own clock begins nowhere")
    street = embedded()
    start_ms = instant_option(start, "--start")
    said = asked(lambda: street.up(clock=str(clock), clock_start_ms=start_ms, catalogue=catalogue, keep=keep, say=say), street)
    emit_record(said, as_json=as_json)


def down(as_json: AsJson = False) -> None:
    """Stop the street; data kept with `up --keep` stay."""
    street = embedded()
    stopped = asked(lambda: street.down(say), street)
    say("The street is down." if stopped else "No street was running.")
    emit_record({"stopped": stopped}, as_json=as_json)


def status(as_json: AsJson = False) -> None:
    """Show every part. Exit 1 when one is not healthy, or when no street runs."""
    street = embedded()
    rows = asked(street.status, street)
    emit_rows(rows, COLUMNS, as_json=as_json)
    if not rows:
        raise AnswerIsNo("no street runs here: trueup up")
    ill = [row["name"] for row in rows if not row["healthy"]]
    if ill:
        raise AnswerIsNo(f"not healthy: {', '.join(ill)}")
