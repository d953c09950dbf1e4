"""Invoices: the preview of the coming one, those that there are, and their lines."""

from __future__ import annotations

from devstack.stripe_emulator import cycle, errors
from devstack.stripe_emulator.call import Answer, Call, Route, due, object_id, stored
from devstack.stripe_emulator.events import occurred
from devstack.stripe_emulator.invoice_lines import Span, aggregated_by, lines_of
from devstack.stripe_emulator.invoice_objects import invoice_of, shown
from devstack.stripe_emulator.lists import PAGING, between, page
from devstack.stripe_emulator.state import Object

_STATUSES = ("draft", "open", "paid", "uncollectible", "void")


def create_preview(call: Call) -> Answer:
    """Preview the next invoice of a subscription, or of a customer's subscription whose period ends first."""
    subscription = _subscription_of(call)
    identifier = object_id("upcoming_in")
    spans = [Span(**span) for span in subscription["pending_spans"]]
    spans += [Span(item, cycle.billed_from(item), item["current_period_end"]) for item in subscription["items"]]
    lines = lines_of(call.state, subscription, spans, aggregated_by(call.state, call.now_ms), identifier, "il_tmp")
    customer = call.state.objects["customer"][subscription["customer"]]
    call.state.remember_preview(identifier, lines)
    return Answer(shown(invoice_of(subscription, customer, identifier, _period(subscription), lines)))


def _subscription_of(call: Call) -> Object:
    customer, wished = call.parameters.text("customer"), call.parameters.text("subscription")
    if wished is not None:
        subscription = call.state.find("subscription", wished)
        if subscription is None or customer not in (None, subscription["customer"]):
            raise errors.no_such("subscription", wished, "subscription", status=404)
        if subscription["status"] == "canceled":
            raise errors.StripeError(f"No upcoming invoices for subscription: {wished}", status=404, code="invoice_upcoming_none")
        return subscription
    if customer is None:
        raise errors.StripeError("You must provide one of customer or subscription.", parameter="customer")
    if call.state.find("customer", customer) is None:
        raise errors.no_such("customer", customer, "customer")
    theirs = [found for found in call.state.newest_first("subscription") if found["customer"] == customer and found["status"] == "active"]
    if not theirs:
        raise errors.StripeError(f"No upcoming invoices for customer: {customer}", status=404, code="invoice_upcoming_none")
    return min(theirs, key=lambda found: _period(found)[1])


def _period(subscription: Object) -> tuple[int, int]:
    items = subscription["items"]
    return min(item["current_period_start"] for item in items), min(item["current_period_end"] for item in items)


def retrieve(call: Call) -> Answer:
    """Show an invoice."""
    return Answer(shown(call.needed("invoice")))


def listed(call: Call) -> Answer:
    """List invoices, newest first."""
    parameters = call.parameters
    customer, subscription = parameters.text("customer"), parameters.text("subscription")
    status, created = parameters.choice("status", _STATUSES), between(parameters, "created")
    chosen = [
        shown(invoice)
        for invoice in sorted(call.state.newest_first("invoice"), key=lambda invoice: -invoice["created"])
        if customer in (None, invoice["customer"])
        and subscription in (None, invoice["parent"]["subscription_details"]["subscription"])
        and status in (None, invoice["status"])
        and created(invoice["created"])
    ]
    return Answer(page(chosen, parameters, "/v1/invoices", "invoice"))


def list_lines(call: Call) -> Answer:
    """List all lines of an invoice."""
    shown_before = call.state.previews.get(call.argument)
    if shown_before is not None:
        return Answer(page(shown_before, call.parameters, f"/v1/invoices/{call.argument}/lines", "line_item"))
    invoice = call.needed("invoice")
    return Answer(page(invoice["lines"], call.parameters, f"/v1/invoices/{invoice['id']}/lines", "line_item"))


def update(call: Call) -> Answer:
    """Change a draft: when it finalizes, or that it does so only when told to."""
    invoice, parameters = _draft(call), call.parameters
    changed = dict(invoice)
    advances, at = parameters.boolean("auto_advance"), parameters.integer("automatically_finalizes_at")
    if at is not None and at <= call.now:
        raise errors.StripeError("automatically_finalizes_at must be in the future.", parameter="automatically_finalizes_at")
    if advances is not None:
        changed["auto_advance"] = advances
    if at is not None:
        changed["automatically_finalizes_at"] = at
    if not changed["auto_advance"]:
        changed["automatically_finalizes_at"] = None
    changed["metadata"] = {**invoice["metadata"], **parameters.mapping("metadata")}
    records = [*stored("invoice", changed), *occurred(call.state, "invoice.updated", shown(changed), call.now_ms)]
    if at is not None or advances is not None:
        moment = changed["automatically_finalizes_at"]
        # A time that was asked for waits for no webhook.
        records.append({**call.state.drafts[invoice["id"]], "fixed": True})
        clock = call.state.clock_of(invoice["customer"])
        records.append(due(clock, "finalization", invoice["id"], None if moment is None else moment * 1000))
    return Answer(shown(changed), records)


def finalize(call: Call) -> Answer:
    """Finalize a draft at once."""
    invoice = _draft(call)
    records = cycle.finalize(call.state, invoice["id"], call.state.now_ms_for(invoice["customer"], call.now_ms), call.now_ms, by_hand=True)
    final = next(record["object"] for record in records if record["record"] == "object" and record["kind"] == "invoice")
    return Answer(shown(final), records)


def _draft(call: Call) -> Object:
    invoice = call.needed("invoice")
    if invoice["status"] != "draft":
        raise errors.StripeError(f"Invoice {invoice['id']} is already finalized, and can't be changed.", code="invoice_not_editable")
    return invoice


ROUTES = (
    Route("POST", "/v1/invoices/create_preview", create_preview, frozenset({"customer", "subscription"})),
    Route("GET", "/v1/invoices", listed, PAGING | {"created", "customer", "status", "subscription"}),
    Route("GET", "/v1/invoices/{id}", retrieve),
    Route("POST", "/v1/invoices/{id}", update, frozenset({"auto_advance", "automatically_finalizes_at", "metadata"})),
    Route("GET", "/v1/invoices/{id}/lines", list_lines, PAGING),
    Route("POST", "/v1/invoices/{id}/finalize", finalize),
)
