"""Migration 0011: what each month of a period is worth by its price."""

from trueup.ledger.revisions.sql_file import run

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0011_period_worth.sql")
