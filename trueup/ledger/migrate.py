"""Brings a database to the schema of this code: roles, migrations, guards, views, comments, grants. Forward only.

Migrations are history and run once. What stands after each of them (guards, finance views, comments, grants) is code:
it is made anew every time, in the same transaction, so that a reader sees either the old views or the new ones.
"""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg import errors
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from trueup.contracts.errors import Broken, Transient
from trueup.ledger.store import queries

SQL = Path(__file__).parent / "sql"
# Roles belong to the whole cluster: two databases that migrate at once may touch the same one.
_ROLE_RACES = (errors.DuplicateObject, errors.UniqueViolation, errors.InternalError_, errors.DeadlockDetected)
_ROLE_ATTEMPTS = 20
# Rooms go on while the views are made anew, and lock them in whatever order their questions name them. One of the two gives way; a run
# that did has changed nothing.
_GAVE_WAY = (errors.DeadlockDetected, errors.LockNotAvailable)
_ATTEMPTS, _PAUSE_SECONDS = 20, 0.5
# Alembic keeps the run in hand in module globals.
_one_run_a_process = threading.Lock()


def migrate(dsn: str) -> None:
    """Migrate the database; needs its owner or a superuser. Running it again changes nothing that anyone can see.

    Rooms may run meanwhile. Transient when they never left the locks that it needs: nothing was changed then.
    """
    with psycopg.connect(dsn, autocommit=True, application_name="trueup-migrate") as connection:
        _create_roles(connection)
    for attempt in range(_ATTEMPTS):
        try:
            _bring_up_to_date(dsn)
            return
        except _GAVE_WAY as busy:
            if attempt == _ATTEMPTS - 1:
                raise Transient(f"others held what the migration needs, nothing was changed; stop the rooms or try again: {busy}") from busy
            time.sleep(_PAUSE_SECONDS)


def _bring_up_to_date(dsn: str) -> None:
    """One run, in one transaction."""
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn, application_name="trueup-migrate"), poolclass=NullPool
    )
    with engine.begin() as alchemy:
        driver = alchemy.connection.driver_connection
        if not isinstance(driver, psycopg.Connection):
            raise Broken("migrations need a psycopg connection")
        _run(driver, _read("standing/10_begin.sql"))
        config = _config()
        config.attributes["connection"] = alchemy
        with _one_run_a_process:
            command.upgrade(config, "head")
        for text in _standing():
            _run(driver, text)
        _refuse_unguarded_tables(driver)


def script(stands_at: str | None = None) -> str:
    """Everything `migrate` does to a database at this migration, or to an empty one: SQL for a DBA to run with psql, in one transaction."""
    parts = ["begin;", _read("standing/00_roles.sql"), _read("standing/10_begin.sql")]
    if stands_at is not None:
        # Run somewhere else, it would leave out what is missing there.
        parts.append(queries.load("guards")["refuse_another_migration"].decode().replace("{migration}", stands_at) + ";")
    parts += [migrations_between(stands_at, head()), *_standing(), "commit;"]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def migrations_between(first: str | None, last: str) -> str:
    """The migrations after `first`, or all from the beginning, up to `last` as SQL; Broken when this code does not know them."""
    output = io.StringIO()
    try:
        with _one_run_a_process:
            command.upgrade(_config(output), last if first is None else f"{first}:{last}", sql=True)
    except CommandError as unknown:
        raise Broken(f"this code does not know migration {first}, at which the ledger stands: {unknown}") from unknown
    return output.getvalue()


def standing_at(connection: psycopg.Connection) -> str | None:
    """The migration that a database stands at; None when our schema is not there."""
    try:
        row = connection.execute(queries.load("guards")["stands_at"]).fetchone()
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return None
    return None if row is None else str(row[0])


def head() -> str:
    """The newest migration this code knows."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if newest is None:
        raise Broken("there are no migrations")
    return newest


def require_current(connection: psycopg.Connection) -> None:
    """Refuse a database that is older or newer than this code: neither may be written by guesswork."""
    try:
        found = standing_at(connection)
    except errors.InsufficientPrivilege as error:
        raise Transient("the ledger's schema is missing: run `trueup migrate`") from error
    if found is None:
        raise Transient("the ledger's schema is missing: run `trueup migrate`")
    if found != head():
        raise Transient(f"the ledger stands at migration {found}, this code at {head()}: run `trueup migrate`")


def _create_roles(connection: psycopg.Connection) -> None:
    """Create the cluster's roles, once more when another database did the same at the same moment."""
    for attempt in range(_ROLE_ATTEMPTS):
        try:
            _run(connection, _read("standing/00_roles.sql"))
            return
        except _ROLE_RACES:
            if attempt == _ROLE_ATTEMPTS - 1:
                raise


def _standing() -> list[str]:
    """What is made anew after every run, in the order of the files."""
    after = sorted(path for path in (SQL / "standing").glob("*.sql") if path.name >= "20")
    views = sorted((SQL / "views").glob("*.sql"))
    before_views = [path for path in after if path.name < "50"]
    after_views = [path for path in after if path.name >= "50"]
    return [path.read_text(encoding="utf-8") for path in [*before_views, *views, *after_views]]


def _refuse_unguarded_tables(connection: psycopg.Connection) -> None:
    """A table of schema ledger without its append-only triggers is a hole in the books."""
    unguarded = [row[0] for row in connection.execute(queries.load("guards")["unguarded_tables"])]
    if unguarded:
        raise Broken(f"tables of schema ledger without append-only triggers: {', '.join(unguarded)}")


def _run(connection: psycopg.Connection, text: str) -> None:
    """Run plain SQL of several statements; as bytes, so that nothing in it is read as a placeholder."""
    connection.execute(text.encode())


def _read(name: str) -> str:
    return (SQL / name).read_text(encoding="utf-8")


def _config(output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output is not None else Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "revisions"))
    config.set_main_option("path_separator", "os")
    return config
