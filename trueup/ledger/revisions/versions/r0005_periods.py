"""Migration 0005: billing periods, their deadlines, Stripe's events, flushes."""

from trueup.ledger.revisions.sql_file import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0005_periods.sql")
