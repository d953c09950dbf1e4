"""Who is on which plan since when: an append-only timeline, from which plan-scoped meters know where usage goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import psycopg

from trueup.contracts.catalogue import Catalogue, CatalogueError, parse
from trueup.contracts.plans import NEVER_MS, ToldPlan, plan_changes, plan_of, successor_of
from trueup.ledger.store import queries


@dataclass(frozen=True, slots=True)
class PlanFact:
    """From an instant on, a customer is on a plan, by a subscription."""

    customer: str
    plan: str
    effective_from_ms: int
    subscription_id: str
    times_before: int = 0  # how often it was recorded already, and then another of the same date

    @property
    def cause_key(self) -> str:
        """What makes this fact this fact: told twice, it is recorded once."""
        again = f":{self.times_before}" if self.times_before else ""
        return f"subscription:{self.subscription_id}:{self.plan}:{self.effective_from_ms}{again}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A subscription as Stripe showed it to whoever asked at `read_at_ms`, which is from before the answer."""

    customer: str
    subscription_id: str
    start_ms: int
    ended_ms: int | None
    prices: tuple[str, ...]
    read_at_ms: int


def learn(connection: psycopg.Connection, seen: Seen, catalogue: Catalogue) -> int:
    """Complete the timeline of a subscription by what Stripe told of it and how it was seen; says how many facts were new.

    Needs a transaction: until its end nobody else completes a timeline of this customer by what it cannot see yet.
    """
    connection.execute(queries.load("plans")["lock_customer"], {"customer": seen.customer})
    found = connection.execute(
        queries.load("plans")["of_subscription"], {"subscription_id": seen.subscription_id, "customer": seen.customer}
    ).fetchall()
    held = [(int(from_ms), str(plan)) for from_ms, plan, _recorded_ms in found]
    events = connection.execute(queries.load("plans")["told"], {"subscription_id": seen.subscription_id}).fetchall()
    told = [
        ToldPlan(int(at_ms), plan_of(catalogue, prices or ()), plan_of(catalogue, prices if before is None else before))
        for at_ms, prices, before in events
    ]
    lacking = plan_changes(
        held,
        told,
        plan_of(catalogue, seen.prices),
        start_ms=seen.start_ms,
        seen_ms=seen.read_at_ms,
        end_ms=NEVER_MS if seen.ended_ms is None else seen.ended_ms,
        first_held_ms=min((int(recorded_ms) for _from_ms, _plan, recorded_ms in found), default=0),
        renamed=_renamed(connection, {plan for _from_ms, plan in held}, catalogue),
    )
    times = Counter(held)
    facts = [PlanFact(seen.customer, plan, from_ms, seen.subscription_id, times[from_ms, plan]) for from_ms, plan in lacking]
    return sum(record(connection, fact) for fact in facts)


def _renamed(connection: psycopg.Connection, held: Iterable[str], catalogue: Catalogue) -> Mapping[str, str]:
    """Which plans that the catalogue has no more are there under another name, of the same prices."""
    found = {}
    for plan in sorted(set(held) - catalogue.plans.keys()):
        row = connection.execute(queries.load("plans")["last_catalogue_with"], {"plan": plan}).fetchone()
        name = None if row is None else successor_of(catalogue, _prices(str(row[0]), plan))
        if name is not None:
            found[plan] = name
    return found


@lru_cache(maxsize=64)
def _prices(text: str, plan: str) -> tuple[str, ...]:
    """The prices of a plan by an older version of the catalogue; none when today's rules do not read it."""
    try:
        return tuple(parse(text).plans[plan].stripe_prices)
    except CatalogueError:
        return ()


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
