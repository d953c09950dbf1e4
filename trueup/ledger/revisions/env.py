"""Alembic's entry: it runs inside the connection and the transaction that trueup.ledger.migrate holds."""

from alembic import context

VERSION_TABLE_SCHEMA = "ops"


def run() -> None:
    """Migrate on the connection handed in, or write the script when there is none."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        context.configure(dialect_name="postgresql", version_table_schema=VERSION_TABLE_SCHEMA, transactional_ddl=False)
    else:
        context.configure(connection=connection, version_table_schema=VERSION_TABLE_SCHEMA)
    context.run_migrations()


run()
