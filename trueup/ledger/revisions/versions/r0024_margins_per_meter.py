"""Migration 0024: what a further unit costs is kept per meter of an item's period."""

from trueup.ledger.revisions.sql_file import run

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0024_margins_per_meter.sql")
