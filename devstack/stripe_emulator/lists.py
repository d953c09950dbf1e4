"""Lists as Stripe pages them: ten at a time unless asked otherwise, moved on by the id of an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.forms import Parameters

PAGING = frozenset({"limit", "starting_after", "ending_before"})
DEFAULT_LIMIT = 10
_MOST = 100


def page(items: Sequence[dict[str, Any]], parameters: Parameters, address: str, noun: str) -> dict[str, Any]:
    """Cut the asked page out of a whole list."""
    limit = _limit(parameters)
    after, before = parameters.text("starting_after"), parameters.text("ending_before")
    if after is not None and before is not None:
        raise errors.StripeError("You can only provide one of starting_after or ending_before.", parameter="starting_after")
    if before is not None:
        end = _position(items, before, noun, "ending_before")
        start = max(end - limit, 0)
        return envelope(items[start:end], address, has_more=start > 0)
    start = 0 if after is None else _position(items, after, noun, "starting_after") + 1
    return envelope(items[start : start + limit], address, has_more=start + limit < len(items))


def envelope(data: Sequence[dict[str, Any]], address: str, *, has_more: bool = False) -> dict[str, Any]:
    """Make the list object."""
    return {"object": "list", "data": list(data), "has_more": has_more, "url": address}


def _limit(parameters: Parameters) -> int:
    limit = parameters.integer("limit")
    if limit is None:
        return DEFAULT_LIMIT
    if limit > _MOST:
        message = f"This value must be less than or equal to {_MOST} (currently it is `{limit}`)."
        raise errors.StripeError(message, code="parameter_invalid_integer", parameter="limit")
    if limit < 1:
        raise errors.StripeError("This value must be greater than or equal to 1.", code="parameter_invalid_integer", parameter="limit")
    return limit


def _position(items: Sequence[dict[str, Any]], identifier: str, noun: str, parameter: str) -> int:
    for position, item in enumerate(items):
        if item["id"] == identifier:
            return position
    raise errors.no_such(noun, identifier, parameter)


def between(parameters: Parameters, name: str) -> Callable[[int], bool]:
    """Read a filter of dates: one instant, or bounds ``gt``, ``gte``, ``lt``, ``lte``."""
    if name not in parameters:
        return lambda instant: True
    if parameters.is_text(name):
        exact = parameters.needed_integer(name)
        return lambda instant: instant == exact
    bounds = parameters.child(name, accepts=("gt", "gte", "lt", "lte"))
    above, least, below, most = (None if bounds is None else bounds.integer(word) for word in ("gt", "gte", "lt", "lte"))

    def inside(instant: int) -> bool:
        fits_below = (below is None or instant < below) and (most is None or instant <= most)
        return fits_below and (above is None or instant > above) and (least is None or instant >= least)

    return inside
