"""Invoice previews: what Stripe would charge for the running period, from what it has aggregated by now."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.aggregation import value_of, visibility
from devstack.stripe_emulator.books import EXACT, ZERO, plain
from devstack.stripe_emulator.call import Answer, Call, Route, object_id
from devstack.stripe_emulator.lists import envelope
from devstack.stripe_emulator.state import Object
from devstack.stripe_emulator.subscriptions import current_period

_QUANTITY_STEP = Decimal("0.000000000001")
_QUANTITY = Context(prec=200, rounding=ROUND_HALF_UP)


def create_preview(call: Call) -> Answer:
    """Preview the next invoice of a subscription, or of a customer's subscription whose period ends first."""
    subscription = _subscription_of(call)
    identifier = object_id("upcoming_in")
    lines = [_line(call, subscription, item, identifier) for item in subscription["items"]]
    return Answer(_invoice(call, subscription, identifier, lines))


def _subscription_of(call: Call) -> Object:
    customer, wished = call.parameters.text("customer"), call.parameters.text("subscription")
    if wished is not None:
        subscription = call.state.find("subscription", wished)
        if subscription is None or customer not in (None, subscription["customer"]):
            raise errors.no_such("subscription", wished, "subscription", status=404)
        return subscription
    if customer is None:
        raise errors.StripeError("You must provide one of customer or subscription.", parameter="customer")
    if call.state.find("customer", customer) is None:
        raise errors.no_such("customer", customer, "customer")
    theirs = [found for found in call.state.newest_first("subscription") if found["customer"] == customer and found["status"] == "active"]
    if not theirs:
        raise errors.StripeError(f"No upcoming invoices for customer: {customer}", status=404, code="invoice_upcoming_none")
    return min(theirs, key=lambda found: _period(found, call.now)[1])


def _period(subscription: Object, now: int) -> tuple[int, int]:
    periods = [current_period(subscription, item, now) for item in subscription["items"]]
    return min(period["current_period_start"] for period in periods), min(period["current_period_end"] for period in periods)


def _quantity(call: Call, subscription: Object, item: Object) -> Decimal:
    """Give what Stripe has aggregated for an item's period; a negative total counts as nothing."""
    meter = call.state.objects["meter"][item["price"]["recurring"]["meter"]]
    period = current_period(subscription, item, call.now)
    lane = call.state.books.lane(meter["id"], subscription["customer"])
    visible = visibility(call.state.switches, call.now_ms)
    start, end = period["current_period_start"], period["current_period_end"]
    value = value_of(meter, lane, start, end, visible, call.state.switches.last_ordering) or ZERO
    return _QUANTITY.quantize(max(value, ZERO), _QUANTITY_STEP)


def _line(call: Call, subscription: Object, item: Object, invoice: str) -> Object:
    quantity, price = _quantity(call, subscription, item), item["price"]
    amount = int(EXACT.multiply(quantity, Decimal(price["unit_amount_decimal"])).to_integral_value(ROUND_HALF_UP))
    period = current_period(subscription, item, call.now)
    return {
        "id": object_id("il_tmp"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": f"{plain(quantity)} × {price['nickname'] or price['id']}",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice,
        "livemode": False,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": period["current_period_end"], "start": period["current_period_start"]},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": int(quantity),
        "quantity_decimal": plain(quantity),
        "subscription": subscription["id"],
        "subtotal": amount,
        "taxes": [],
    }


def _invoice(call: Call, subscription: Object, identifier: str, lines: list[Object]) -> Object:
    total = sum(line["amount"] for line in lines)
    start, end = _period(subscription, call.now)
    customer = call.state.objects["customer"][subscription["customer"]]
    return {
        "id": identifier,
        "object": "invoice",
        **_amounts(total),
        "account_country": "US",
        "account_name": None,
        "account_tax_ids": None,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
        "automatically_finalizes_at": None,
        "billing_reason": "upcoming",
        "collection_method": "charge_automatically",
        "created": end,
        "currency": subscription["currency"],
        "custom_fields": None,
        "customer": subscription["customer"],
        "customer_address": None,
        "customer_email": customer.get("email"),
        "customer_name": customer.get("name"),
        "customer_phone": customer.get("phone"),
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "footer": None,
        "from_invoice": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": envelope(lines, f"/v1/invoices/{identifier}/lines"),
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": end + 3600,
        "number": None,
        "on_behalf_of": None,
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"]},
            "type": "subscription_details",
        },
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": end,
        "period_start": start,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {"finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None},
        "test_clock": None,
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }


def _amounts(total: int) -> dict[str, Any]:
    """Give the amounts of an invoice without taxes, discounts or earlier balance."""
    return {
        "amount_due": total,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_remaining": total,
        "amount_shipping": 0,
        "ending_balance": 0,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
    }


ROUTES = (Route("POST", "/v1/invoices/create_preview", create_preview, frozenset({"customer", "subscription"})),)
