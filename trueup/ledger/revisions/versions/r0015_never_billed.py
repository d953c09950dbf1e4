"""Migration 0015: customers who are never billed, and what of their usage was waived because of it."""

from trueup.ledger.revisions.sql_file import run

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0015_never_billed.sql")
