"""What a customer used and what it costs: the one view model that the JSON and the page are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from services.usage_view.core.billing_period import BillingPeriod
from trueup.contracts.pricing import Package, PriceError, Scheme, amount_of_smallest, parse_price
from trueup.ledger.accounts import Account
from trueup.ledger.customer_usage import Facts, FinalLine, Held, ItemPeriod, MeterUnit

_NOT_CONFIRMED = frozenset({Account.UNSENT, Account.IN_FLIGHT})
_COUNTED = frozenset({*_NOT_CONFIRMED, Account.ACKNOWLEDGED, Account.INVOICED})
_FOR_A_PERSON = frozenset({Account.MISSED_INVOICE, Account.REJECTED, Account.IN_REVIEW})
_NO_UNIT = MeterUnit("", 0)


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """What one meter counted in the period, in its smallest unit."""

    meter: str
    unit: str
    scale: int
    quantity: int  # what this period bills
    in_flight: int  # of it, what Stripe has not confirmed yet
    under_review: int  # beside it: on no bill unless a person decides so
    corrections: int  # of it, what was taken back


@dataclass(frozen=True, slots=True)
class BillLine:
    """A line of the bill; amounts in minor units of the currency. Without an amount its price is not understood, or was changed."""

    meter: str
    unit: str
    scale: int
    price_id: str
    currency: str
    tier: int | None
    quantity: Decimal  # in the meter's unit
    unit_amount_decimal: Decimal | None
    flat_amount_decimal: Decimal
    package_units: int | None  # the price is for so many units at once
    amount_minor: int | None
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Bill:
    """A customer's period."""

    customer: str
    start_ms: int
    end_ms: int
    currency: str | None  # None: nothing is billed, or the lines are in several
    meters: tuple[MeterUsage, ...]
    lines: tuple[BillLine, ...]
    total_minor: int | None  # None: an amount is not known
    invoices: tuple[str, ...]  # the final ones that these lines are on
    disagreeing: tuple[str, ...]  # of them, those that bill something else than we have worked out


def bounds_of(period: BillingPeriod) -> tuple[int, ...]:
    """Give every instant at which the period is divided, its own start and end first and last."""
    inside = {bound for item in period.items for bound in (item.start_ms, item.end_ms, item.until_ms)}
    return tuple(sorted({period.start_ms, period.end_ms, *inside}))


def make_bill(customer: str, period: BillingPeriod, facts: Facts) -> Bill:
    """Work out the bill of a period."""
    bounds = bounds_of(period)
    final = {item: found for item in period.items if (found := _final_lines(item, facts.final_lines))}
    lines: list[BillLine] = []
    disagreeing: list[str] = []
    for item in period.items:
        quantity = _billed(item, period.items, facts.held, bounds, item in final)
        if item not in final:
            lines += _priced(item, quantity, facts)
            continue
        billed, agrees = _as_invoiced(item, final[item], quantity, facts)
        if not agrees:
            disagreeing.append(final[item][0].invoice_id)
        lines += billed
    currencies = {item.currency for item in period.items}
    return Bill(
        customer=customer,
        start_ms=period.start_ms,
        end_ms=period.end_ms,
        currency=min(currencies) if len(currencies) == 1 else None,
        meters=_meters(period.items, final, facts, bounds),
        lines=tuple(lines),
        total_minor=_total(lines) if len(currencies) <= 1 else None,
        invoices=tuple(dict.fromkeys(found[0].invoice_id for found in final.values())),
        disagreeing=tuple(dict.fromkeys(disagreeing)),
    )


def _sums(lines: Sequence[BillLine]) -> list[tuple[Decimal, int | None]]:
    return [(line.quantity, line.amount_minor) for line in lines]


def _total(lines: Sequence[BillLine]) -> int | None:
    """Add up; an amount that is not known makes the sum unknown."""
    amounts = [line.amount_minor for line in lines if line.amount_minor is not None]
    return sum(amounts) if len(amounts) == len(lines) else None


def _final_lines(item: ItemPeriod, lines: Sequence[FinalLine]) -> tuple[FinalLine, ...]:
    """Give the item's lines of its final invoice, at every price it had in the period: after a swap they may begin later than it."""
    return tuple(
        line for line in lines if line.subscription_item_id == item.subscription_item_id and item.start_ms <= line.start_ms < item.end_ms
    )


def _billed(item: ItemPeriod, items: Sequence[ItemPeriod], held: Sequence[Held], bounds: Sequence[int], final: bool) -> int:
    """Add up what an item bills. Stripe bills all of a customer's usage of a meter on each item that has a price for it."""
    accounts = frozenset({Account.INVOICED}) if final else _COUNTED
    return sum(one.quantity for one in held if one.account in accounts and item in _items_of(one, items, bounds))


def _items_of(one: Held, items: Sequence[ItemPeriod], bounds: Sequence[int]) -> tuple[ItemPeriod, ...]:
    """Say on which items usage is billed: those of its Stripe meter; of those it may yet go to, the one that began last."""
    at_ms = bounds[one.stretch - 1]
    running = [item for item in items if item.meter == one.meter and item.start_ms <= at_ms < item.until_ms]
    if one.stripe_event_name is not None:
        running = [item for item in running if item.stripe_event_name == one.stripe_event_name]
    elif running:
        newest = max(running, key=lambda item: (item.start_ms, item.subscription_item_id))
        running = [item for item in running if item.stripe_event_name == newest.stripe_event_name]
    return tuple(item for item in running if one.stripe_customer in (None, item.stripe_customer))


def _meters(items: Sequence[ItemPeriod], final: Mapping[ItemPeriod, object], facts: Facts, bounds: Sequence[int]) -> tuple[MeterUsage, ...]:
    names = sorted({one.meter for one in facts.held} | {item.meter for item in items} | set(facts.corrections))
    return tuple(_meter(name, items, final, facts, bounds) for name in names)


def _meter(name: str, items: Sequence[ItemPeriod], final: Mapping[ItemPeriod, object], facts: Facts, bounds: Sequence[int]) -> MeterUsage:
    quantity = in_flight = under_review = 0
    for one in facts.held:
        if one.meter != name:
            continue
        # Its invoice is final: what it did not take up is on no bill by itself any more.
        closed = any(item in final for item in _items_of(one, items, bounds))
        if one.account in ({Account.INVOICED} if closed else _COUNTED):
            quantity += one.quantity
            in_flight += one.quantity if one.account in _NOT_CONFIRMED else 0
        elif one.account in _FOR_A_PERSON | _COUNTED:
            under_review += one.quantity
    unit = facts.units.get(name, _NO_UNIT)
    return MeterUsage(name, unit.unit, unit.scale, quantity, in_flight, under_review, facts.corrections.get(name, 0))


def _as_invoiced(item: ItemPeriod, final: Sequence[FinalLine], quantity: int, facts: Facts) -> tuple[list[BillLine], bool]:
    """Give an item's lines as its final invoice has them, and say whether we would bill the same.

    Only Stripe knows how it divides usage between the prices of a period. Each share is priced by our own arithmetic, and all of them
    together are what the ledger holds as invoiced.
    """
    unit = facts.units.get(item.meter, _NO_UNIT)
    shares: dict[tuple[str, int, int], list[FinalLine]] = {}
    for line in final:
        shares.setdefault((line.price_id, line.start_ms, line.end_ms), []).append(line)
    agrees = sum((line.quantity for line in final), Decimal(0)) == Decimal(max(quantity, 0)).scaleb(-unit.scale)
    lines: list[BillLine] = []
    for (price_id, _, _), share in shares.items():
        priced = replace(item, price_id=price_id, repriced=False)
        whole = quantity if len(shares) == 1 else int(sum((line.quantity for line in share), Decimal(0)).scaleb(unit.scale))
        ours = _priced(priced, whole, facts)
        billed = _as_billed(priced, share, ours, facts)
        agrees = agrees and _sums(billed) == _sums(ours)
        lines += billed
    return lines, agrees


def _priced(item: ItemPeriod, quantity: int, facts: Facts) -> list[BillLine]:
    """Give an item's lines by our own arithmetic."""
    unit = facts.units.get(item.meter, _NO_UNIT)
    stripe_price = facts.prices.get(item.price_id)
    try:
        # Which share of a period Stripe bills at which of its prices is known from its invoice only.
        price = None if stripe_price is None or item.repriced else parse_price(stripe_price, item.currency)
    except PriceError:
        price = None
    if price is None:
        # A quantity without an amount: a total that left it out would promise too little.
        whole = Decimal(max(quantity, 0)).scaleb(-unit.scale)
        return [_line(item, unit, None, whole, None, Decimal(0), None, None)]
    tiered = price.scheme in (Scheme.GRADUATED, Scheme.VOLUME)
    return [
        _line(
            item,
            unit,
            line.tier if tiered else None,
            line.quantity,
            line.unit_amount_decimal,
            line.flat_amount_decimal,
            price.package,
            line.amount_minor,
        )
        for line in amount_of_smallest(price, quantity, unit.scale).lines
    ]


def _as_billed(item: ItemPeriod, final: Sequence[FinalLine], ours: Sequence[BillLine], facts: Facts) -> list[BillLine]:
    """Give an item's lines as its final invoice has them, with what only our own say beside them where they are the same lines."""
    unit = facts.units.get(item.meter, _NO_UNIT)
    alike = list(ours) if len(ours) == len(final) else [None] * len(final)
    return [
        _line(
            item,
            unit,
            line.tier,
            line.quantity,
            own.unit_amount_decimal if own else line.unit_amount_decimal,
            own.flat_amount_decimal if own else Decimal(0),
            Package(own.package_units, round_up=True) if own and own.package_units else None,
            line.amount_minor,
        )
        for line, own in zip(final, alike, strict=True)
    ]


def _line(
    item: ItemPeriod,
    unit: MeterUnit,
    tier: int | None,
    quantity: Decimal,
    unit_amount_decimal: Decimal | None,
    flat_amount_decimal: Decimal,
    package: Package | None,
    amount_minor: int | None,
) -> BillLine:
    return BillLine(
        meter=item.meter,
        unit=unit.unit,
        scale=unit.scale,
        price_id=item.price_id,
        currency=item.currency,
        tier=tier,
        quantity=quantity,
        unit_amount_decimal=unit_amount_decimal,
        flat_amount_decimal=flat_amount_decimal,
        package_units=None if package is None else package.divide_by,
        amount_minor=amount_minor,
        start_ms=item.start_ms,
        end_ms=item.until_ms,
    )
