"""What an invoice means: our own amounts beside Stripe's, and the division of what was acknowledged into billed and missed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from fractions import Fraction

from trueup.contracts.pricing import Price, Scheme, amount_of
from trueup.ledger.invoices import Allocation, CustomerInvoices, Holding

# Wide enough that adding up quantities of 12 decimals never rounds.
_EXACT = Context(prec=200)
PAUSE_MS = 15 * 60_000
SETTLE_MS = 60_000  # how long after its date an invoice is asked for: Stripe acts at its own pace


def total_of(quantities: Sequence[Decimal]) -> Decimal:
    """Add up quantities without rounding."""
    total = Decimal(0)
    for quantity in quantities:
        total = _EXACT.add(total, quantity)
    return total


def mirrored(price: Price, quantities: Sequence[Decimal]) -> list[tuple[int | None, int]]:
    """Give tier and amount for each of an item's lines, from the quantities that Stripe shows on them.

    Where Stripe divides the quantity into another number of lines than we do, our whole amount stands beside the first.
    """
    lines = amount_of(price, total_of(quantities)).lines
    tiered = price.scheme in (Scheme.GRADUATED, Scheme.VOLUME)
    if len(lines) == len(quantities):
        return [(line.tier if tiered else None, line.amount_minor) for line in lines]
    whole = sum(line.amount_minor for line in lines)
    return [(None, whole if place == 0 else 0) for place in range(len(quantities))]


def expected(price: Price | None, quantity: Decimal, lines: int) -> list[tuple[Decimal, int | None]]:
    """Give quantity and amount for each of an item's lines, from what the ledger holds for the whole item."""
    if price is None:
        return [(quantity if place == 0 else Decimal(0), None) for place in range(lines)]
    ours: list[tuple[Decimal, int | None]] = [(line.quantity, line.amount_minor) for line in amount_of(price, quantity).lines]
    if quantity < 0 or len(ours) != lines:
        whole = amount_of(price, quantity).amount_minor
        return [(quantity, whole) if place == 0 else (Decimal(0), 0) for place in range(lines)]
    return ours


def unit_at_the_margin(price: Price, quantity: Decimal) -> Decimal:
    """Give the price of a further unit: that of the tier reached, a package's divided by its size."""
    if price.package is not None:
        return _EXACT.divide(price.tiers[0].unit_amount_decimal, Decimal(price.package.divide_by))
    for tier in price.tiers:
        if tier.up_to is None or quantity < tier.up_to:
            return tier.unit_amount_decimal
    return price.tiers[-1].unit_amount_decimal


def to_smallest(quantity: Decimal, scale: int) -> int:
    """Give a billed quantity in the meter's smallest unit; what is finer than that is not ours and stays on Stripe's side."""
    scaled = Fraction(quantity) * Fraction(10**scale)
    return scaled.numerator // scaled.denominator


def divide(
    billed: int,
    invoiced_before: int,
    missed_before: int,
    holdings: Sequence[Holding],
    amount_at: Callable[[int], int | None],
) -> tuple[Allocation, ...]:
    """Divide what stands in acknowledged: as much as was billed and not covered yet is invoiced, the rest is missed.

    What Stripe said it refused after all is missed first, then what it acknowledged last. A total below zero is billed as none, so that
    all of it is missed; what was billed beyond our total stays Stripe's surplus, which nobody corrects without a person. `amount_at`
    prices a whole quantity of the period.
    """
    total = sum(holding.quantity for holding in holdings)
    invoiced = min(max(billed - invoiced_before, 0), total) if total > 0 else 0
    missing = total - invoiced
    parts: list[tuple[Holding, int]] = []
    for holding in sorted(holdings, key=lambda one: (one.refused, one.acknowledged_at, one.intent_id), reverse=True):
        same_sign = holding.quantity * missing > 0
        part = (min if missing > 0 else max)(holding.quantity, missing) if same_sign else 0
        missing -= part
        parts.append((holding, part))
    return _valued(parts[::-1], billed + missed_before, amount_at)


def _valued(parts: Sequence[tuple[Holding, int]], base: int, amount_at: Callable[[int], int | None]) -> tuple[Allocation, ...]:
    """Value each missed part on top of what comes before it, so that the amounts add up to that of the whole."""
    found: list[Allocation] = []
    reached = amount_at(base)
    for holding, part in parts:
        amount: int | None = 0
        if part:
            base += part
            after = amount_at(base)
            amount = None if after is None or reached is None else after - reached
            reached = after
        all_missed = part == holding.quantity and part != 0
        found.append(
            Allocation(
                intent_id=holding.intent_id,
                quantity_invoiced=holding.quantity - part,
                events_invoiced=0 if all_missed else holding.events,
                quantity_missed=part,
                events_missed=holding.events if all_missed else 0,
                amount_missed_minor=amount,
            )
        )
    return tuple(found)


def invoices_due_ms(customer: CustomerInvoices, sweep_ms: int) -> int:
    """Give the date at which a customer's invoices are next read: never read, hinted at, an invoice due, or the sweep."""
    if customer.read_at_ms is None:
        return 0
    dates = [customer.read_at_ms + sweep_ms]
    for due_ms in (customer.finalizes_at_ms, customer.period_end_ms):
        if due_ms is not None:
            # Where Stripe is behind its own date, it is asked again after a pause, not all the time.
            again_ms = customer.read_at_ms + PAUSE_MS if customer.read_at_ms >= due_ms else 0
            dates.append(max(due_ms + SETTLE_MS, again_ms))
    if customer.hinted_at_ms is not None:
        dates.append(customer.hinted_at_ms)
    return min(dates)
