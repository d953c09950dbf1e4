"""Migration 0018: usage with more digits than Stripe takes waits apart from its lane."""

from trueup.ledger.revisions.sql_file import run

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0018_value_too_long.sql")
