"""Migration 0004: keys to the doors over HTTP."""

from trueup.ledger.revisions.sql_file import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0004_ingest.sql")
