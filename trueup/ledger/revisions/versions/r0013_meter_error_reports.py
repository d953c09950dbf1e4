"""Migration 0013: what Stripe refused of what it had received."""

from trueup.ledger.revisions.sql_file import run

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0013_meter_error_reports.sql")
