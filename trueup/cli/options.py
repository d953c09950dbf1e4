"""Options that many verbs share, spelled once."""

from __future__ import annotations

from typing import Annotated

import typer

from trueup.cli.faults import UsageFault
from trueup.cli.lines import instant_ms

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; recorded with the act.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def instant_option(text: str | None, option: str) -> int | None:
    """An instant given on the command line, in milliseconds."""
    if text is None:
        return None
    try:
        return instant_ms(text, utc_by_default=False)
    except ValueError as fault:
        raise UsageFault(f"{option}: {fault}") from fault
