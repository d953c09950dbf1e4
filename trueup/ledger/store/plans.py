"""Who is on which plan since when: an append-only timeline, from which plan-scoped meters know where usage goes."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from trueup.ledger.store import queries


@dataclass(frozen=True, slots=True)
class PlanFact:
    """From an instant on, a customer is on a plan, by a subscription."""

    customer: str
    plan: str
    effective_from_ms: int
    subscription_id: str

    @property
    def cause_key(self) -> str:
        """What makes this fact this fact: told twice, it is recorded once."""
        return f"subscription:{self.subscription_id}:{self.plan}:{self.effective_from_ms}"


def record(connection: psycopg.Connection, fact: PlanFact) -> bool:
    """Record a fact; False when it stands there already."""
    added = connection.execute(
        queries.load("plans")["add"],
        {
            "customer": fact.customer,
            "plan": fact.plan,
            "effective_from_ms": fact.effective_from_ms,
            "subscription_id": fact.subscription_id,
            "cause_key": fact.cause_key,
        },
    )
    return added.rowcount == 1


def timeline(connection: psycopg.Connection, customer: str) -> list[PlanFact]:
    """The plans of a customer, oldest first."""
    return [PlanFact(*row) for row in connection.execute(queries.load("plans")["timeline"], {"customer": customer})]
