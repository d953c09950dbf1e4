"""Invoices as Stripe lays them out. Stored ones keep all their lines; shown ones the first ten, like every list in Stripe."""

from __future__ import annotations

from typing import Any

from devstack.stripe_emulator.lists import DEFAULT_LIMIT, envelope
from devstack.stripe_emulator.state import Object

# What no invoice of the emulator ever sets, or what is so until something happens to it.
_UNTOUCHED: Object = {
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
    "custom_fields": None,
    "customer_address": None,
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
    "livemode": False,
    "metadata": {},
    "next_payment_attempt": None,
    "number": None,
    "on_behalf_of": None,
    "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "statement_descriptor": None,
    "status_transitions": {"finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None},
    "total_discount_amounts": [],
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
}


def shown(invoice: Object) -> Object:
    """Give an invoice with the first page of its lines."""
    lines = invoice["lines"]
    return {
        **invoice,
        "lines": envelope(lines[:DEFAULT_LIMIT], f"/v1/invoices/{invoice['id']}/lines", has_more=len(lines) > DEFAULT_LIMIT),
    }


def with_lines(invoice: Object, lines: list[Object]) -> Object:
    """Give an invoice with its lines counted anew."""
    return {**invoice, "lines": lines, **_amounts(sum(line["amount"] for line in lines))}


def invoice_of(subscription: Object, customer: Object, identifier: str, period: tuple[int, int], lines: list[Object]) -> Object:
    """Lay out an invoice as it is before anything has happened to it."""
    start, end = period
    total = sum(line["amount"] for line in lines)
    return {
        "id": identifier,
        "object": "invoice",
        **_amounts(total),
        **_UNTOUCHED,
        "created": end,
        "currency": subscription["currency"],
        "customer": subscription["customer"],
        "customer_email": customer.get("email"),
        "customer_name": customer.get("name"),
        "customer_phone": customer.get("phone"),
        "lines": lines,
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"]},
            "type": "subscription_details",
        },
        "period_end": end,
        "period_start": start,
        "status": "draft",
        "test_clock": customer.get("test_clock"),
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
