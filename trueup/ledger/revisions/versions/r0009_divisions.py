"""Migration 0009: which postings a division took back."""

from trueup.ledger.revisions.sql_file import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0009_divisions.sql")
