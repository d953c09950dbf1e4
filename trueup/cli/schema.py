"""`trueup migrate`: the ledger's schema."""

from __future__ import annotations

from typing import Annotated

import typer

from trueup.cli.options import AsJson
from trueup.cli.output import emit_record, say
from trueup.cli.target import find_target
from trueup.ledger import migrate as migration


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("migrate")(migrate)


def migrate(
    sql: Annotated[bool, typer.Option("--sql", help="Print the script for a DBA instead; needs no database.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the ledger's schema up to date; running it again changes nothing."""
    if sql:
        print(migration.script(), end="")
        return
    settings = find_target().settings
    settings.require("postgres_dsn")
    migration.migrate(settings.postgres_dsn)
    say("The ledger's schema is up to date.")
    emit_record({"migration": migration.head()}, as_json=as_json)
