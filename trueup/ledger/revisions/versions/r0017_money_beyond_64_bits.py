"""Migration 0017: what usage is worth may be more than 64 bits hold."""

from trueup.ledger.revisions.sql_file import run

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0017_money_beyond_64_bits.sql")
