"""Which period is asked for: that of the customer's subscription, or the calendar month where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from trueup.contracts import instants
from trueup.ledger.customer_usage import ItemPeriod

CURRENT, PREVIOUS = "current", "previous"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """What one bill is about: [start, end), and every item's period in it. Without items nothing is billed in it."""

    start_ms: int
    end_ms: int
    items: tuple[ItemPeriod, ...] = ()


def read_wish(text: str) -> str | int:
    """Read `period`: current, previous, or when one starts, as an instant or a UTC date. ValueError when it is none of these."""
    if text in (CURRENT, PREVIOUS):
        return text
    return instants.milliseconds(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)


def billing_periods(items: Iterable[ItemPeriod]) -> tuple[BillingPeriod, ...]:
    """Give every period that is billed as one, oldest first.

    Items of one subscription share its bill, also one that was cancelled or swapped half-way. Subscriptions that begin and end together
    are shown together.
    """
    found: dict[tuple[int, int], list[ItemPeriod]] = {}
    for subscription in _by_subscription(items).values():
        for start_ms, end_ms, inside in _spans(subscription):
            found.setdefault((start_ms, end_ms), []).extend(inside)
    return tuple(BillingPeriod(*bounds, tuple(sorted(inside, key=_order))) for bounds, inside in sorted(found.items()))


def chosen(periods: Sequence[BillingPeriod], wish: str | int, now_ms: int) -> BillingPeriod | None:
    """Give the period that is meant; None when nobody knows such a one."""
    if isinstance(wish, int):
        exact = [period for period in periods if period.start_ms == wish]
        return max(exact, key=lambda period: period.end_ms) if exact else _month_from(periods, wish, now_ms)
    current = _current(periods, now_ms)
    if wish == CURRENT:
        return current
    before = [period for period in periods if period.end_ms <= current.start_ms]
    if before:
        return max(before, key=lambda period: (period.end_ms, period.start_ms))
    return None if periods else _month(current.start_ms - 1)


def _by_subscription(items: Iterable[ItemPeriod]) -> dict[str, list[ItemPeriod]]:
    found: dict[str, list[ItemPeriod]] = {}
    for item in items:
        found.setdefault(item.subscription_id, []).append(item)
    return found


def _spans(items: list[ItemPeriod]) -> list[tuple[int, int, list[ItemPeriod]]]:
    """Fold periods that lie within another one into it."""
    spans: list[tuple[int, int, list[ItemPeriod]]] = []
    for item in sorted(items, key=lambda one: (one.start_ms, -one.end_ms)):
        around = next((span for span in spans if span[0] <= item.start_ms and item.end_ms <= span[1]), None)
        if around is not None:
            around[2].append(item)
        else:
            spans.append((item.start_ms, item.end_ms, [item]))
    return spans


def _current(periods: Sequence[BillingPeriod], now_ms: int) -> BillingPeriod:
    """Give the one that began last of those that run; between periods, what of the calendar month no bill covers."""
    running = [period for period in periods if period.start_ms <= now_ms < period.end_ms]
    if running:
        return max(running, key=lambda period: (period.start_ms, period.end_ms))
    month = _month(now_ms)
    start_ms = max([month.start_ms, *(period.end_ms for period in periods if period.end_ms <= now_ms)])
    end_ms = min([month.end_ms, *(period.start_ms for period in periods if period.start_ms > now_ms)])
    return BillingPeriod(start_ms, end_ms)


def _month_from(periods: Sequence[BillingPeriod], start_ms: int, now_ms: int) -> BillingPeriod | None:
    """Give the calendar month that starts then, for a customer without a subscription."""
    if periods or not 0 <= start_ms <= now_ms:
        return None
    month = _month(start_ms)
    return month if month.start_ms == start_ms else None


def _month(instant_ms: int) -> BillingPeriod:
    first = (_EPOCH + timedelta(milliseconds=instant_ms)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return BillingPeriod(_ms(first), _ms(following))


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _order(item: ItemPeriod) -> tuple[str, int, str]:
    return item.meter, item.start_ms, item.subscription_item_id
