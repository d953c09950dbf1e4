"""Migration 0006: prices, invoices and their lines, and what was posted for them."""

from trueup.ledger.revisions.sql_file import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0006_invoices.sql")
