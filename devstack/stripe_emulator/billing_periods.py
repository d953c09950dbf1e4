"""Billing periods: from one anniversary of the anchor to the next, the last day of a month standing in for a missing one."""

from __future__ import annotations

import calendar
import datetime

_FIXED_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}


def anniversary(anchor: int, interval: str, interval_count: int, number: int) -> int:
    """Give the anchor moved by ``number`` intervals, in unix seconds."""
    start = datetime.datetime.fromtimestamp(anchor, datetime.UTC)
    if interval in _FIXED_DAYS:
        return int((start + datetime.timedelta(days=_FIXED_DAYS[interval] * interval_count * number)).timestamp())
    months = start.year * 12 + start.month - 1 + _MONTHS[interval] * interval_count * number
    year, month = divmod(months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def period_at(instant: int, start: int, anchor: int, interval: str, interval_count: int) -> tuple[int, int]:
    """Give the period [start, end) that holds an instant; none begins before the subscription does."""
    instant = max(instant, start)
    longest_days = _FIXED_DAYS.get(interval) or 31 * _MONTHS[interval]
    # Below the true number by construction; then step up to the last anniversary that is not later.
    number = (instant - anchor) // (longest_days * interval_count * 86_400) - 1
    while anniversary(anchor, interval, interval_count, number + 1) <= instant:
        number += 1
    return max(anniversary(anchor, interval, interval_count, number), start), anniversary(anchor, interval, interval_count, number + 1)
