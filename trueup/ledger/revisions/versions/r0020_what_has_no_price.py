"""Migration 0020: usage without a price, or of two plans at once, waits."""

from trueup.ledger.revisions.sql_file import run

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0020_what_has_no_price.sql")
