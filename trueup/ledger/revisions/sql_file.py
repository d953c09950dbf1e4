"""Runs one SQL file of ../sql/migrations inside Alembic, on a connection or into the script for a DBA."""

from pathlib import Path

from alembic import op

MIGRATIONS = Path(__file__).parents[1] / "sql" / "migrations"


def run(name: str) -> None:
    """Run a migration file as it stands: no placeholders, several statements, one round trip."""
    text = (MIGRATIONS / name).read_text(encoding="utf-8")
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(text)
        return
    # Past SQLAlchemy: it would read `%` and `:name` in plain SQL as placeholders.
    driver = op.get_bind().connection.driver_connection
    if driver is None:
        raise RuntimeError("Alembic lost its connection")
    driver.execute(text.encode())
