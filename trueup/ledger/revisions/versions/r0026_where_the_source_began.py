"""Migration 0026: from which offset of the source topic on a new ledger on old topics can hold anything."""

from trueup.ledger.revisions.sql_file import run

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0026_where_the_source_began.sql")
