"""One ledger serves one Stripe account in one mode: recorded once, and another one is refused."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from trueup.contracts.errors import Broken
from trueup.ledger.store import queries


@dataclass(frozen=True, slots=True)
class Deployment:
    """The Stripe account and mode that this ledger's books are about."""

    stripe_account: str
    livemode: bool


def held(connection: psycopg.Connection) -> Deployment | None:
    """What the ledger is about; None while nothing was recorded."""
    row = connection.execute(queries.load("deployment")["held"]).fetchone()
    return None if row is None else Deployment(stripe_account=row[0], livemode=row[1])


def record(connection: psycopg.Connection, deployment: Deployment) -> bool:
    """Record it; False when it is recorded already. Another account or mode halts: its answers are not about these books."""
    added = connection.execute(
        queries.load("deployment")["add"], {"stripe_account": deployment.stripe_account, "livemode": deployment.livemode}
    ).rowcount
    found = held(connection)
    if found != deployment:
        raise Broken(f"this ledger serves {found}, not {deployment}")
    return added == 1
