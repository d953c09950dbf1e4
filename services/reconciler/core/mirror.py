"""Lines as Stripe shows them, each with what our own arithmetic makes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from services.reconciler.core.invoices import divide, expected, mirrored, to_smallest, total_of, unit_at_the_margin
from trueup.contracts.pricing import Price, PriceError, amount_of_smallest, parse_price
from trueup.ledger.invoices import (
    Allocation,
    BilledItem,
    ExpectedLine,
    HeldLine,
    Holding,
    LineReading,
    MarginalPrice,
    MonthWorth,
    PeriodMonth,
    PriceReading,
)


def with_mirror(lines: Sequence[LineReading], prices: Mapping[str, PriceReading]) -> tuple[LineReading, ...]:
    """Set our own amounts beside those of usage lines; other lines stay as they are."""
    found = list(lines)
    together: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, line in enumerate(lines):
        name = _usage_of(line, prices)
        if name is not None:
            found[place] = replace(line, stripe_event_name=name)
            together[line.subscription_item_id, line.price_id, line.period_start_ms, line.period_end_ms].append(place)
    for places in together.values():
        for place, line in zip(places, _mirror([found[place] for place in places], prices), strict=True):
            found[place] = line
    return tuple(found)


def _usage_of(line: LineReading, prices: Mapping[str, PriceReading]) -> str | None:
    """Say which usage a line bills; None for a line of something else. A subscription's price that nobody shows us may be of any."""
    price = prices.get(line.price_id or "")
    if price is not None:
        return price.stripe_event_name or price.stripe_meter_id
    return f"unknown:{line.price_id}" if line.subscription_item_id is not None and line.price_id is not None else None


def _mirror(lines: Sequence[LineReading], prices: Mapping[str, PriceReading]) -> list[LineReading]:
    """Work out the lines of one item's period together: tiers go on from line to line."""
    price, why = understood(prices.get(lines[0].price_id or ""), lines[0].currency)
    if price is None:
        return [replace(line, why_not_mirrored=why) for line in lines]
    ours = mirrored(price, [line.quantity_decimal or Decimal(0) for line in lines])
    return [replace(line, tier=tier, amount_mirror_minor=amount) for line, (tier, amount) in zip(lines, ours, strict=True)]


def understood(reading: PriceReading | None, currency: str) -> tuple[Price | None, str | None]:
    """Read a price, or say why it is not understood."""
    if reading is None:
        return None, "Stripe does not show the price"
    try:
        return parse_price(reading.body, currency), None
    except PriceError as error:
        return None, str(error)


def expectations(
    held: Sequence[HeldLine], prices: Mapping[str, PriceReading]
) -> tuple[tuple[ExpectedLine, ...], tuple[MarginalPrice, ...]]:
    """Give our own lines beside Stripe's, from what the ledger holds, and what a further unit of each item's period costs."""
    together: dict[tuple[object, ...], list[HeldLine]] = defaultdict(list)
    for line in held:
        together[line.source, line.subscription_item_id, line.price_id, line.period_start].append(line)
    lines: list[ExpectedLine] = []
    margins: dict[tuple[object, ...], MarginalPrice] = {}
    for group in together.values():
        first = group[0]
        price, _why = understood(prices.get(first.price_id), first.currency)
        quantity = Decimal(first.quantity_acknowledged).scaleb(-first.scale)
        for line, (ours, amount) in zip(group, expected(price, quantity, len(group)), strict=True):
            lines.append(ExpectedLine(line.source, line.position, ours.scaleb(line.scale), amount))
        reached = max(quantity, total_of([line.quantity_stripe for line in group]))
        margins[first.subscription_item_id, first.stripe_event_name, first.period_start] = MarginalPrice(
            subscription_item_id=first.subscription_item_id,
            period_start=first.period_start,
            period_end=first.period_end,
            stripe_customer=first.stripe_customer,
            stripe_event_name=first.stripe_event_name,
            currency=first.currency,
            unit_amount_decimal=None if price is None else unit_at_the_margin(price, reached),
        )
    return tuple(lines), tuple(margins.values())


def worths(months: Sequence[PeriodMonth], prices: Mapping[str, PriceReading]) -> tuple[MonthWorth, ...]:
    """Value each period's months one after the other: each is worth what the price makes of the period with it, less that before it.

    Nothing comes before a period's first month, so that flat fees are in there. A price that is not understood values nothing.
    """
    found: list[MonthWorth] = []
    reached: dict[tuple[str, object], tuple[int, int]] = {}
    for month in months:
        price, _why = understood(prices.get(month.price_id), month.currency)
        if price is None:
            continue
        quantity, before = reached.get((month.subscription_item_id, month.period_start), (0, 0))
        used = amount_of_smallest(price, quantity + month.used, month.scale).amount_minor
        total = amount_of_smallest(price, quantity + month.used + month.taken_back, month.scale).amount_minor
        found.append(MonthWorth(month, used - before, total - used))
        reached[month.subscription_item_id, month.period_start] = (quantity + month.used + month.taken_back, total)
    return tuple(found)


def divided(item: BilledItem, holdings: Sequence[Holding], prices: Mapping[str, PriceReading]) -> tuple[int, tuple[Allocation, ...]]:
    """Give what was billed in the smallest unit, and what becomes of each intent of the period."""
    price, _why = understood(prices.get(item.price_id), item.currency)

    def amount_at(quantity: int) -> int | None:
        return None if price is None else amount_of_smallest(price, quantity, item.scale).amount_minor

    billed = to_smallest(item.quantity_decimal, item.scale)
    return billed, divide(billed, item.quantity_invoiced, item.quantity_missed, holdings, amount_at)
