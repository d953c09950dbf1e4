"""`trueup period`: where a customer's billing periods stand, and by when what is open must be through."""

from __future__ import annotations

from typing import Annotated

import typer

from trueup.cli import period_preview
from trueup.cli.faults import AnswerIsNo
from trueup.cli.options import AsJson
from trueup.cli.output import emit_rows, say
from trueup.cli.target import find_target, ledger, require_known
from trueup.ledger.store import periods

COLUMNS = (
    "customer_id",
    "meter",
    "subscription_item_id",
    "period_start",
    "period_end",
    "status",
    "open_quantity",
    "deadline",
    "provable",
    "why_not",
)
NOT_PROVABLE = "not_provable"
period = typer.Typer(help="Billing periods: what is open, and until when.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the noun."""
    period.command("preview")(period_preview.preview)
    app.add_typer(period, name="period")


@period.command("show")
def show(
    customer: Annotated[str | None, typer.Argument(help="Our id of the customer; without it, everybody's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show where billing periods stand. Exit 1 when one was not provable at its deadline."""
    with ledger(find_target()) as connection:
        rows = periods.shown(connection, customer)
        emit_rows(rows, COLUMNS, as_json=as_json)
        require_known(connection, customer)
    late = [row for row in rows if row["status"] == NOT_PROVABLE]
    if late:
        raise AnswerIsNo(f"{len(late)} of {len(rows)} periods were not provable at their deadline")
    say(f"{len(rows)} periods: {sum(row['provable'] for row in rows)} provable.")
