"""Migration 0021: when polling last found an event that no webhook had brought."""

from trueup.ledger.revisions.sql_file import run

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0021_when_a_webhook_was_missed.sql")
