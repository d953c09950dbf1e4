"""Migration 0002: cuts, intents, lanes, attempts, outcomes, settlements, arming."""

from trueup.ledger.revisions.sql_file import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0002_dispatch.sql")
