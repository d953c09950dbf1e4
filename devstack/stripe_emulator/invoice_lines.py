"""Invoice lines: the usage of one item's period, counted, priced and laid out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal

from devstack.stripe_emulator.aggregation import received_value, value_of, visibility
from devstack.stripe_emulator.books import ZERO, plain
from devstack.stripe_emulator.pricing import Charge, charges
from devstack.stripe_emulator.state import Object, State

_QUANTITY_STEP = Decimal("0.000000000001")
_QUANTITY = Context(prec=200, rounding=ROUND_HALF_UP)

Count = Callable[[Object, str, int, int], Decimal]


@dataclass(frozen=True, slots=True)
class Span:
    """What an invoice bills: one item's usage in [start, end), or a quantity fixed before."""

    item: Object
    start: int
    end: int
    fixed: str | None = None
    invoice_item: str | None = None
    until_ms: int | None = None


def aggregated_by(state: State, now_ms: int) -> Count:
    """Count what Stripe has aggregated by an instant."""
    visible, ordering = visibility(state.switches, now_ms), state.switches.last_ordering

    def count(meter: Object, customer: str, start: int, end: int) -> Decimal:
        return value_of(meter, state.books.lane(meter["id"], customer), start, end, visible, ordering) or ZERO

    return count


def received_before(state: State, before_ms: int | None) -> Count:
    """Count what Stripe had received before an instant, aggregated or not."""

    def count(meter: Object, customer: str, start: int, end: int) -> Decimal:
        return received_value(meter, state.books.lane(meter["id"], customer), start, end, before_ms, state.switches.last_ordering)

    return count


def billed_quantity(state: State, span: Span, customer: str, count: Count) -> Decimal:
    """Give the quantity of a line: twelve decimals, and nothing where the total is negative."""
    if span.fixed is not None:
        return Decimal(span.fixed)
    if span.until_ms is not None:
        count = received_before(state, span.until_ms)
    meter = state.objects["meter"][span.item["price"]["recurring"]["meter"]]
    return _QUANTITY.quantize(max(count(meter, customer, span.start, span.end), ZERO), _QUANTITY_STEP)


def lines_of(state: State, subscription: Object, spans: Iterable[Span], count: Count, invoice: str, prefix: str = "il") -> list[Object]:
    """Lay out the lines of an invoice; a line keeps its id when its quantity is counted again."""
    lines = []
    for span in spans:
        quantity = billed_quantity(state, span, subscription["customer"], count)
        for charge in charges(span.item["price"], quantity, flat_at_zero=state.switches.flat_amount_at_zero):
            name = f"{invoice} {span.item['id']} {span.item['price']['id']} {span.start} {charge.words}"
            identifier = f"{prefix}_{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}"
            lines.append(_line(subscription, span, charge, invoice, identifier))
    return lines


def _line(subscription: Object, span: Span, charge: Charge, invoice: str, identifier: str) -> Object:
    price = span.item["price"]
    return {
        "id": identifier,
        "object": "line_item",
        "amount": charge.amount,
        "currency": price["currency"],
        "description": f"{plain(charge.quantity)} × {price['nickname'] or price['id']}{charge.words}",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice,
        "livemode": False,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": span.invoice_item,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": span.item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": span.end, "start": span.start},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": charge.unit_amount_decimal,
        },
        "quantity": int(charge.quantity),
        "quantity_decimal": plain(charge.quantity),
        "subscription": subscription["id"],
        "subtotal": charge.amount,
        "taxes": [],
    }
