"""Migration 0003: what Stripe said when it was last read."""

from trueup.ledger.revisions.sql_file import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0003_reconciliation.sql")
