"""Migration 0016: quantities of whole periods may be more than 64 bits hold."""

from trueup.ledger.revisions.sql_file import run

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0016_beyond_64_bits.sql")
