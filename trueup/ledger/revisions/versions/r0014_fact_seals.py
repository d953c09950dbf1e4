"""Migration 0014: a hash of each fact that decides where usage goes."""

from trueup.ledger.revisions.sql_file import run

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0014_fact_seals.sql")
