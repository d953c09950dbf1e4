"""Lists of Stripe's, with all their pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stripe

PAGE = 100  # the most that Stripe gives at once; its default of 10 is a trap
# A customer whom Stripe does not know has nothing; a subscription that was cancelled a moment ago has nothing to come.
NOTHING_THERE = frozenset({"invoice_upcoming_none", "resource_missing"})


def every(ask: Callable[[], Any]) -> list[Any]:
    """Everything on a list and the pages behind it; nothing where Stripe does not know whose it would be.

    Only the first answer can say that. What goes missing from a later page is the object behind which it was to go on, an invoice that was
    deleted meanwhile, say: that is a `stripe.StripeError` as any other, since the objects of the first pages are there all the same.
    """
    try:
        first = ask()
    except stripe.InvalidRequestError as error:
        if error.code in NOTHING_THERE:
            return []
        raise
    return list(first.auto_paging_iter())
