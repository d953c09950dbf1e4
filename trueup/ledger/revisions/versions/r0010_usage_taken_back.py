"""Migration 0010: where negative usage is found."""

from trueup.ledger.revisions.sql_file import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0010_usage_taken_back.sql")
