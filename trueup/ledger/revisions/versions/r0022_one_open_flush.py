"""Migration 0022: one open flush a customer and reason, and when Stripe was last asked for it."""

from trueup.ledger.revisions.sql_file import run

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0022_one_open_flush.sql")
