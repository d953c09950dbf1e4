"""Migration 0025: where each topic began when this ledger took it up."""

from trueup.ledger.revisions.sql_file import run

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0025_where_topics_began.sql")
