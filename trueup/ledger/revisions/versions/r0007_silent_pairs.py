"""Migration 0007: when Stripe was asked about customers and meters that nothing was ever sent for."""

from trueup.ledger.revisions.sql_file import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0007_silent_pairs.sql")
