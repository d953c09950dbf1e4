"""Migration 0019: the plans of a customer are found by an index."""

from trueup.ledger.revisions.sql_file import run

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Run the migration's SQL file."""
    run("0019_plan_fact_customer.sql")
