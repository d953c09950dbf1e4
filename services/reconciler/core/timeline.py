"""Billing periods from what Stripe says of a subscription: one timeline per item, back to where nothing can change any more. Pure."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from trueup.ledger.periods import PeriodFact

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIXED_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}
_MOST_BACK = 1_200
# An item made this long after its subscription was added to it, and has no periods from before.
_MADE_TOGETHER_MS = 60_000


@dataclass(frozen=True, slots=True)
class Item:
    """A subscription item with a metered price, as Stripe shows it."""

    item_id: str
    created_ms: int
    price_id: str
    meter_id: str
    currency: str
    interval: str
    interval_count: int
    period_start_ms: int
    period_end_ms: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription, cancelled ones included."""

    subscription_id: str
    stripe_customer: str
    status: str
    created_ms: int
    start_ms: int
    anchor_ms: int
    ended_ms: int | None
    prices: tuple[str, ...]
    items: tuple[Item, ...]


def anniversary_ms(anchor_ms: int, interval: str, count: int, number: int) -> int:
    """Give the anchor moved by `number` intervals; the last day of a month stands in for one it does not have."""
    anchor = _EPOCH + timedelta(milliseconds=anchor_ms)
    if interval in _FIXED_DAYS:
        moved = anchor + timedelta(days=_FIXED_DAYS[interval] * count * number)
    else:
        year, month = divmod(anchor.year * 12 + anchor.month - 1 + _MONTHS[interval] * count * number, 12)
        moved = anchor.replace(year=year, month=month + 1, day=min(anchor.day, calendar.monthrange(year, month + 1)[1]))
    return (moved - _EPOCH) // timedelta(milliseconds=1)


Held = Mapping[str, Sequence[PeriodFact]]
NOTHING_HELD: Held = MappingProxyType({})


def facts_of(
    subscription: Subscription, event_names: Mapping[str, str], plan: str | None, since_ms: int, held: Held = NOTHING_HELD
) -> list[PeriodFact]:
    """Every period that ends after `since_ms`, up to the current one; of items whose meter has an event name.

    `held` is what is known of each item. What is over is not told again, by another price or by the calendar of an anchor that was
    moved since; a current period that begins inside one that is known ends that one there.
    """
    facts = []
    for item in subscription.items:
        event_name = event_names.get(item.meter_id)
        if event_name is None:
            continue
        known = [fact for fact in held.get(item.item_id, ()) if fact.start_ms < item.period_start_ms]
        newest = max(known, key=lambda fact: fact.start_ms, default=None)
        if newest is not None and newest.end_ms > item.period_start_ms:
            facts.append(replace(newest, end_ms=item.period_start_ms))
        for start_ms, end_ms in _periods(subscription, item, since_ms, 0 if newest is None else newest.end_ms):
            facts.append(
                PeriodFact(
                    subscription_item_id=item.item_id,
                    subscription_id=subscription.subscription_id,
                    stripe_customer=subscription.stripe_customer,
                    price_id=item.price_id,
                    stripe_event_name=event_name,
                    plan=plan,
                    currency=item.currency,
                    start_ms=start_ms,
                    end_ms=end_ms,
                )
            )
    return sorted(facts, key=lambda fact: (fact.start_ms, fact.subscription_item_id))


def _periods(subscription: Subscription, item: Item, since_ms: int, known_end_ms: int) -> Iterator[tuple[int, int]]:
    end_ms = item.period_end_ms
    if subscription.ended_ms is not None:
        end_ms = max(item.period_start_ms, min(end_ms, subscription.ended_ms))
    yield item.period_start_ms, end_ms
    # An item that was added later has no periods from before; from a known one on it has had them all.
    if known_end_ms or item.created_ms - subscription.created_ms <= _MADE_TOGETHER_MS:
        yield from _earlier(subscription, item, since_ms, max(subscription.start_ms, known_end_ms))


def _earlier(subscription: Subscription, item: Item, since_ms: int, first_ms: int) -> Iterator[tuple[int, int]]:
    """The periods between `first_ms` and the current one, if the calendar explains the current one: else nothing is guessed.

    What is known ends where it was told to, on whatever day: of the calendar's period around that day only the rest is left.
    """
    number = _number_of(subscription.anchor_ms, item)
    begins_ms = item.period_start_ms
    while number is not None and begins_ms > max(first_ms, since_ms):
        number -= 1
        start_ms = max(anniversary_ms(subscription.anchor_ms, item.interval, item.interval_count, number - 1), first_ms)
        yield start_ms, begins_ms
        begins_ms = start_ms


def _number_of(anchor_ms: int, item: Item) -> int | None:
    """Which anniversary the current period ends on; None when it ends on none, or begins where no calendar has it begin."""
    longest_ms = (_FIXED_DAYS.get(item.interval) or 31 * _MONTHS[item.interval]) * item.interval_count * 86_400_000
    number = (item.period_end_ms - anchor_ms) // longest_ms - 1
    for candidate in range(number, number + _MOST_BACK):
        ends_ms = anniversary_ms(anchor_ms, item.interval, item.interval_count, candidate)
        if ends_ms == item.period_end_ms:
            before_ms = anniversary_ms(anchor_ms, item.interval, item.interval_count, candidate - 1)
            return candidate if item.period_start_ms >= before_ms else None
        if ends_ms > item.period_end_ms:
            return None
    return None
