"""Who is on which plan since when: an append-only timeline, from which plan-scoped meters know where usage goes."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from trueup.contracts.catalogue import Catalogue
from trueup.contracts.plans import ToldPlan, plan_changes, plan_of
from trueup.ledger.store import queries
from trueup.ledger.store.clock import now_ms


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


@dataclass(frozen=True, slots=True)
class Seen:
    """A subscription as Stripe shows it now."""

    customer: str
    subscription_id: str
    start_ms: int
    prices: tuple[str, ...]


def learn(connection: psycopg.Connection, seen: Seen, catalogue: Catalogue) -> int:
    """Complete the timeline of a subscription by what Stripe told of it and what it shows now; says how many facts were new."""
    found = connection.execute(
        queries.load("plans")["of_subscription"], {"subscription_id": seen.subscription_id, "customer": seen.customer}
    )
    held = [(int(from_ms), str(plan)) for from_ms, plan in found]
    events = connection.execute(queries.load("plans")["told"], {"subscription_id": seen.subscription_id}).fetchall()
    told = [
        ToldPlan(int(at_ms), plan_of(catalogue, prices or ()), plan_of(catalogue, prices if before is None else before))
        for at_ms, prices, before in events
    ]
    lacking = plan_changes(held, told, plan_of(catalogue, seen.prices), start_ms=seen.start_ms, now_ms=now_ms(connection))
    return sum(record(connection, PlanFact(seen.customer, plan, from_ms, seen.subscription_id)) for from_ms, plan in lacking)


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
