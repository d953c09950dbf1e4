"""Migration 0023: lines of previews are found by whose they are and by their item."""

from trueup.ledger.revisions.sql_file import run

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0023_preview_lines_found.sql")
