"""Which plan a subscription is, by the prices it has, and since when."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, itemgetter
from types import MappingProxyType

from trueup.contracts.catalogue import Catalogue

NOTHING_RENAMED: Mapping[str, str] = MappingProxyType({})
NEVER_MS = 2**62
_FROM_MS = itemgetter(0)
_AT_MS = attrgetter("at_ms")


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


def successor_of(catalogue: Catalogue, prices: Collection[str]) -> str | None:
    """Give the only plan that has all the prices of one that is gone: whoever was on that one is on this one, and was."""
    having = [plan.name for plan in catalogue.plans.values() if prices and set(prices) <= set(plan.stripe_prices)]
    return having[0] if len(having) == 1 else None


def plan_changes(
    held: Iterable[tuple[int, str]],
    told: Iterable[ToldPlan],
    seen: str | None,
    *,
    start_ms: int,
    seen_ms: int,
    end_ms: int = NEVER_MS,
    first_held_ms: int = 0,
    renamed: Mapping[str, str] = NOTHING_RENAMED,
) -> list[tuple[int, str]]:
    """Give what a subscription's timeline of (from when, plan) lacks: `held` is what it has, `seen` the plan it had when it was looked at.

    Events date a change; one that no event told is dated by when it was seen. A plan of None says nothing, and a subscription that
    ended says nothing from its end on. `held` is in order of dates, and of one date the last one stands: so a plan that got another
    name has it from the old one's date. What is given can be held the next time, and then nothing is given.

    `first_held_ms` is when the first of them was recorded: a plan that was found after a change, and of which the change was told only
    later, stands from the beginning, where the one before it belongs.
    """
    timeline = list(held)
    lacking: list[tuple[int, str]] = []

    def note(at_ms: int, plan: str | None) -> None:
        index = bisect_right(timeline, at_ms, key=_FROM_MS)
        if plan is not None and (index == 0 or timeline[index - 1][1] != plan):
            timeline.insert(index, (at_ms, plan))
            lacking.append((at_ms, plan))

    for at_ms, plan in dict(timeline).items():
        note(at_ms, renamed.get(plan))
    events = _in_order(told, seen)
    if not timeline:
        note(start_ms, next((event.before for event in events if event.before is not None), seen))
    changes = [event for event in events if event.plan != event.before]
    if _found_after(events, changes, timeline, start_ms, first_held_ms):
        note(start_ms, changes[0].before)
    for event in events:
        at_ms = max(event.at_ms, start_ms)
        # One that changed nothing tells nothing beside one that did: held after it, it would take the change back.
        idle = event.plan == event.before and any(event.at_ms == change.at_ms for change in changes)
        if at_ms < end_ms and not idle and (event.plan is None or (at_ms, event.plan) not in timeline):
            note(at_ms, event.plan)
    # Whole seconds, as Stripe dates what it does: segments are cut here, and are sent with whole seconds.
    at_ms = max(seen_ms // 1_000 * 1_000, start_ms)
    # What is dated by then or later may have come after the look, which is older than its keeping: the next look shows it too.
    newest_ms = max([*map(_FROM_MS, timeline), *map(_AT_MS, events)], default=start_ms)
    if newest_ms < at_ms < end_ms:
        note(at_ms, seen)
    return lacking


def _found_after(
    events: Sequence[ToldPlan], changes: Sequence[ToldPlan], timeline: Sequence[tuple[int, str]], start_ms: int, first_held_ms: int
) -> bool:
    """Whether what stands from the beginning is where a change led that was made before the first look.

    What events say of the time before the first change has to agree.
    """
    before = [change for change in changes if start_ms < change.at_ms <= first_held_ms]
    index = bisect_right(timeline, start_ms, key=_FROM_MS)
    return (
        index > 0
        and any(timeline[index - 1] == (start_ms, change.plan) for change in before)
        and all(event.plan == changes[0].before for event in events[: events.index(changes[0])])
    )


def _in_order(told: Iterable[ToldPlan], seen: str | None) -> list[ToldPlan]:
    """Put events in order. Of one second, which is how Stripe dates, each begins where the one before it led; the last led to `seen`."""
    backwards: list[ToldPlan] = []
    after = seen
    for _at_ms, of_one_second in groupby(sorted(told, key=_AT_MS, reverse=True), key=_AT_MS):
        waiting = list(of_one_second)
        while waiting:
            # One that changed nothing is taken first: it may have come after the change, and cannot stand before it.
            last = min(reversed(waiting), key=lambda event: (event.plan != after, event.before != after))
            waiting.remove(last)
            backwards.append(last)
            after = last.before
    return backwards[::-1]
