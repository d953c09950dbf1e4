"""Settling by reading: which of the unknown intents of a lane's hour are in Stripe's summary, and which are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trueup.ledger.intents import UnknownIntent

# Two readings this far apart must agree: Stripe's summaries lag.
BETWEEN_READS_MS = 15 * 60_000
_MOST_SUMS = 100_000
_LARGEST_QUANTITY = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Settled:
    """Which intents landed; all the others go back to unsent."""

    landed: frozenset[int]
    quantity_landed: int
    quantity_remainder: int


@dataclass(frozen=True, slots=True)
class Undecidable:
    """A person settles: the reason is what the lane halts with."""

    reason: str


def settle(unknown: Sequence[UnknownIntent], *, acknowledged: int, stripe: int) -> Settled | Undecidable:
    """Decide what landed: summary minus acknowledged, if the unknown intents can explain it to the unit.

    An event lands whole or not at all, so what landed must be the sum of some of them. A figure that no set of them makes
    has another cause, and dividing an intent to fit it would be a guess.
    """
    landed = stripe - acknowledged
    least = sum(min(item.quantity, 0) for item in unknown)
    most = sum(max(item.quantity, 0) for item in unknown)
    if max(abs(figure) for figure in (stripe, acknowledged, landed, least, most)) > _LARGEST_QUANTITY:
        return Undecidable("too_large")
    if landed > most:
        return Undecidable("stripe_has_more")
    if landed < least:
        return Undecidable("stripe_has_less")
    chosen = _subset(unknown, landed)
    if chosen is None:
        return Undecidable("no_set_explains_summary")
    return Settled(frozenset(chosen), landed, sum(item.quantity for item in unknown) - landed)


def _subset(unknown: Sequence[UnknownIntent], wanted: int) -> tuple[int, ...] | None:
    """Some intents that sum to `wanted`, the earliest first; None where there are none, or too many sums to look through."""
    reached: dict[int, tuple[int, ...]] = {0: ()}
    for item in unknown:
        for total, chosen in list(reached.items()):
            reached.setdefault(total + item.quantity, (*chosen, item.intent_id))
        if len(reached) > _MOST_SUMS:
            return None
    return reached.get(wanted)
