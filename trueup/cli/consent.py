"""What changes money has a reason and is asked for."""

from __future__ import annotations

import getpass
import sys

from trueup.cli.faults import UsageFault
from trueup.cli.output import say


def require_reason(reason: str) -> str:
    """The reason that will be recorded; a blank one is none."""
    if not reason.strip():
        raise UsageFault("--reason is recorded with the act and can't be blank")
    return reason.strip()


def ask(question: str, *, yes: bool) -> None:
    """Goes on only after a person said yes, here or with `--yes`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageFault(f"{question} Nobody can be asked here: say --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        say("Nothing was changed.")
        raise UsageFault("not confirmed")


def who() -> str:
    """The name an act is recorded under."""
    return getpass.getuser()
