"""Migration 0001: clock, deployment, catalogue, customers, events, postings, source accounting."""

from trueup.ledger.revisions.sql_file import run

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0001_ledger.sql")
