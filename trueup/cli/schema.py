"""`trueup migrate`: the ledger's schema."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from trueup.cli.options import AsJson
from trueup.cli.output import emit_record, say
from trueup.cli.target import NothingNamed, find_target
from trueup.ledger import migrate as migration
from trueup.ledger.store.connection import Unreachable, connect


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("migrate")(migrate)


def where_it_stands() -> str | None:
    """The migration of the deployment's database, said aloud; None when there is nothing to look at or in."""
    try:
        settings = find_target().settings
        settings.require("postgres_dsn")
        with closing(connect(settings.postgres_dsn, "trueup-cli")) as connection:
            found = migration.standing_at(connection)
    except NothingNamed:
        say("No deployment is named: this is the script for an empty database.")
        return None
    except Unreachable as failure:
        say(f"Postgres does not answer ({first_line(failure)}): this is the script for an empty database.")
        return None
    if found is None:
        say("The database is empty: this is the whole script.")
    elif found == migration.head():
        say(f"The ledger stands at migration {found}, the newest: this makes its views, comments and grants anew.")
    else:
        say(f"The ledger stands at migration {found}: this brings it to {migration.head()}.")
    return found


def first_line(failure: Exception) -> str:
    """What went wrong, without the rest."""
    return str(failure).strip().partition("\n")[0]


def migrate(
    sql: Annotated[bool, typer.Option("--sql", help="Print the script for a DBA instead, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the ledger's schema up to date. Running it again changes nothing.

    With --sql: what is missing in the deployment's database, to be run with psql; all of it where there is no database yet.
    """
    if sql:
        stands_at = where_it_stands()
        script = migration.script(stands_at)
        if as_json:
            emit_record({"migration": migration.head(), "stands_at": stands_at, "sql": script}, as_json=True)
        else:
            print(script, end="")
        return
    settings = find_target().settings
    settings.require("postgres_dsn")
    migration.migrate(settings.postgres_dsn)
    say("The ledger's schema is up to date.")
    emit_record({"migration": migration.head()}, as_json=as_json)
