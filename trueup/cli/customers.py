"""`trueup customers`: our ids and Stripe's, one to one both ways. The reconciler finds out which plan a mapped customer is on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from trueup.cli.consent import ask, require_reason, who
from trueup.cli.csv_rows import TornRow, decoded, rows
from trueup.cli.faults import AnswerIsNo, UsageFault
from trueup.cli.options import AsJson, Reason, Yes
from trueup.cli.output import emit_record, emit_rows, say
from trueup.cli.target import find_target, ledger
from trueup.ledger.store import customers as mappings

COLUMNS = ("customer", "stripe_customer", "never_billed", "recorded_at", "recorded_by", "reason")
CSV_COLUMNS = ("customer", "stripe_customer")
Customer = Annotated[str, typer.Argument(help="Our id of the customer.")]
StripeCustomer = Annotated[str, typer.Argument(help="Stripe's id, cus_….")]
Mappings = Annotated[Path, typer.Argument(help="A CSV with the columns customer,stripe_customer.", exists=True, dir_okay=False)]


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    nouns = typer.Typer(help="Our customer ids and Stripe's.", no_args_is_help=True)
    nouns.command("map")(map_)
    nouns.command("list")(list_)
    nouns.command("import")(import_)
    nouns.command("never-bill")(never_bill)
    app.add_typer(nouns, name="customers")


def map_(customer: Customer, stripe_customer: StripeCustomer, reason: Reason, yes: Yes = False, as_json: AsJson = False) -> None:
    """Map a customer. Usage that waited for it goes out under its Stripe customer."""
    said = require_reason(reason)
    if not mappings.is_stripe_id(stripe_customer):
        raise UsageFault(f"{stripe_customer!r} is no Stripe customer: {mappings.SHAPE}")
    target = find_target()
    ask(f"Bill {customer}'s usage to Stripe customer {stripe_customer}?", yes=yes)
    with ledger(target) as connection:
        new = mappings.map_customer(connection, customer, stripe_customer, reason=said, recorded_by=who())
    say(f"{customer} is {stripe_customer}." if new else f"{customer} was {stripe_customer} already.")
    emit_record({"customer": customer, "stripe_customer": stripe_customer, "new": new}, as_json=as_json)


def never_bill(customer: Customer, reason: Reason, yes: Yes = False, as_json: AsJson = False) -> None:
    """Never bill a customer, for ever. What of its usage waits is waived, and what comes."""
    said = require_reason(reason)
    target = find_target()
    ask(f"Never bill {customer}, for ever? This cannot be taken back.", yes=yes)
    with ledger(target) as connection:
        new = mappings.never_bill(connection, customer, reason=said, recorded_by=who())
    say(f"{customer} is never billed." if new else f"{customer} was never billed already.")
    emit_record({"customer": customer, "never_billed": True, "new": new}, as_json=as_json)


def list_(
    customer: Annotated[str | None, typer.Argument(help="One customer; all when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show every mapping ever recorded. Oldest first, the newest is in force; then who is never billed."""
    with ledger(find_target()) as connection:
        rows = [mapping_row(mapping) for mapping in mappings.timeline(connection, customer)]
        rows += [never_billed_row(one) for one in mappings.never_billed(connection, customer)]
    emit_rows(rows, COLUMNS, as_json=as_json)
    if customer is not None and not rows:
        raise AnswerIsNo(f"{customer!r} was never mapped, and not said to be never billed")


def mapping_row(mapping: mappings.CustomerMapping) -> dict[str, Any]:
    """A mapping as a row, its instant readable."""
    return _row(asdict(mapping)) | {"never_billed": False}


def never_billed_row(one: mappings.NeverBilled) -> dict[str, Any]:
    """A customer who is never billed as a row: there is no Stripe customer in it."""
    return _row(asdict(one)) | {"stripe_customer": None, "never_billed": True}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    row["recorded_at"] = datetime.fromtimestamp(row.pop("recorded_at_ms") / 1000, UTC)
    return row


def import_(file: Mappings, reason: Reason, yes: Yes = False, as_json: AsJson = False) -> None:
    """Map many customers from a CSV, all or none."""
    said = require_reason(reason)
    rows = list(rows_of(file))
    pairs = [pair for _line, pair in rows]
    target = find_target()
    ask(f"Map {len(pairs)} customers?", yes=yes)
    with ledger(target) as connection:
        new, faults = mappings.import_mappings(connection, pairs, reason=said, recorded_by=who())
    refused = [{"line": rows[number - 1][0], "reason": "refused", "detail": why} for number, why in faults]
    if as_json or not refused:
        emit_record({"mapped": len(pairs) if not refused else 0, "new": new, "refused": refused}, as_json=as_json)
    else:
        emit_rows(refused, ("line", "reason", "detail"), as_json=False)
    if refused:
        raise AnswerIsNo(f"nothing was mapped: {len(refused)} of {len(pairs)} rows are refused")


def rows_of(file: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """The pairs of a CSV, each with the line of the file it ends on; a byte order mark, quotes and blank lines are met."""
    try:
        reader = rows(decoded(file.read_bytes()))
    except UnicodeDecodeError as fault:
        raise UsageFault(f"{file} is not UTF-8") from fault
    names: list[str] | None = None
    for row in reader:
        if isinstance(row, TornRow):
            raise UsageFault(f"{file}: {row.detail}")
        cells = [cell.strip() for cell in row.cells]
        if names is None:
            names = _header(file, cells)
            continue
        if any(cells[len(names) :]):
            raise UsageFault(f"{file}: line {row.line} has more cells than the header")
        named = dict(zip(names, cells, strict=False))
        yield row.line, (named.get(CSV_COLUMNS[0], ""), named.get(CSV_COLUMNS[1], ""))
    if names is None:
        raise UsageFault(f"{file} has no column {', '.join(CSV_COLUMNS)}")


def _header(file: Path, names: list[str]) -> list[str]:
    missing = [name for name in CSV_COLUMNS if name not in names]
    if missing:
        raise UsageFault(f"{file} has no column {', '.join(missing)}")
    twice = [name for name in CSV_COLUMNS if names.count(name) > 1]
    if twice:
        raise UsageFault(f"{file} has column {', '.join(twice)} more than once: nobody can tell which is meant")
    return names
