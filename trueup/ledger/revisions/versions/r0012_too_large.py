"""Migration 0012: usage that no intent can hold waits by its own name."""

from trueup.ledger.revisions.sql_file import run

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0012_too_large.sql")
