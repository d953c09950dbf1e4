"""Migration 0008: up to which arrival all usage is captured."""

from trueup.ledger.revisions.sql_file import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0008_captured_through.sql")
