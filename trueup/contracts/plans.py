"""Which plan a subscription is, by the prices it has, and since when."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from trueup.contracts.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class ToldPlan:
    """What an event of Stripe says of a subscription: its plan from that instant on, and before it where the event tells."""

    at_ms: int
    plan: str | None
    before: str | None


def plan_of(catalogue: Catalogue, prices: Collection[str]) -> str | None:
    """Give the plan that most of these prices belong to; None when no plan has any of them, or two fit equally well."""
    held = set(prices)
    shared = {plan.name: len(held & set(plan.stripe_prices)) for plan in catalogue.plans.values()}
    best = max(shared.values(), default=0)
    fitting = [name for name, count in shared.items() if count == best]
    return fitting[0] if best and len(fitting) == 1 else None


def plan_changes(
    held: Iterable[tuple[int, str]], told: Sequence[ToldPlan], now: str | None, *, start_ms: int, now_ms: int
) -> list[tuple[int, str]]:
    """Give what a subscription's timeline of (from when, plan) lacks: `held` is what it has, `now` the plan it was seen with just now.

    Events date a change; one that no event told is dated by when it was seen. A plan of None says nothing. `held` is in order of
    dates, and of one date the last one stands. What is given can be held the next time, and then nothing is given.
    """
    timeline = list(held)
    lacking: list[tuple[int, str]] = []

    def note(at_ms: int, plan: str | None) -> None:
        index = bisect_right(timeline, at_ms, key=lambda fact: fact[0])
        if plan is not None and (index == 0 or timeline[index - 1][1] != plan):
            timeline.insert(index, (at_ms, plan))
            lacking.append((at_ms, plan))

    events = sorted(told, key=lambda event: event.at_ms)
    if not timeline:
        note(start_ms, next((event.before for event in events if event.before is not None), now))
    for event in events:
        if event.plan is None or (max(event.at_ms, start_ms), event.plan) not in timeline:
            note(max(event.at_ms, start_ms), event.plan)
    # Whole seconds, as Stripe dates what it does: segments are cut here, and are sent with whole seconds.
    note(max(now_ms // 1_000 * 1_000, start_ms), now)
    return lacking
