"""`trueup period preview`: what Stripe will invoice, line by line, beside our own arithmetic."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from services.reconciler.app.preview_now import preview_now
from trueup.cli.faults import AnswerIsNo
from trueup.cli.options import AsJson
from trueup.cli.output import emit_rows, say
from trueup.cli.target import find_target, ledger, require_known
from trueup.contracts.pricing import decimals_of
from trueup.contracts.quantities import to_decimal_text

COLUMNS = (
    "meter",
    "price_id",
    "tier",
    "period_start",
    "period_end",
    "quantity_ledger",
    "quantity_stripe",
    "amount_expected_minor",
    "amount_stripe_minor",
    "amount_difference_minor",
    "currency",
    "status",
)


def preview(customer: Annotated[str, typer.Argument(help="Our id of the customer.")], as_json: AsJson = False) -> None:
    """Show what Stripe will invoice for a customer's periods. Exit 1 when a line is not what its quantity costs by our own arithmetic."""
    target = find_target()
    target.settings.require("stripe_api_key")
    # Asked first, so that a ledger that is away or of another version says so at once.
    ledger(target).close()
    rows: list[dict[str, Any]] = [asdict(row) for row in preview_now(target.settings, customer)]
    emit_rows(rows, COLUMNS, as_json=as_json)
    if not rows:
        with ledger(target) as connection:
            require_known(connection, customer)
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["currency"]] = totals.get(row["currency"], 0) + row["amount_stripe_minor"]
    for currency, total in totals.items():
        say(f"{len(rows)} lines: {to_decimal_text(total, decimals_of(currency))} {currency.upper()} before discounts and taxes.")
    wrong = [row for row in rows if row["meter"] is not None and row["amount_mirror_minor"] != row["amount_stripe_minor"]]
    if wrong:
        raise AnswerIsNo(f"{len(wrong)} of {len(rows)} lines do not cost what our own arithmetic makes of them")
