"""Changes to a running subscription: other prices, more or fewer items, an end at once or at the period's end."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from devstack.stripe_emulator import cycle, errors
from devstack.stripe_emulator.call import Answer, Call, Route, due, stored
from devstack.stripe_emulator.events import occurred
from devstack.stripe_emulator.forms import Parameters
from devstack.stripe_emulator.invoice_lines import Span, billed_quantity, received_before
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.state import Object
from devstack.stripe_emulator.subscriptions import item_of, next_end, period_of, priced, shown

_PRORATIONS = ("always_invoice", "create_prorations", "none")


def update(call: Call) -> Answer:
    """Change a subscription; what becomes of the usage so far depends on its billing mode."""
    before = _running(call)
    at_ms = call.state.now_ms_for(before["customer"], call.now_ms)
    after, spans = _with_items(call, before, at_ms)
    if "metadata" in call.parameters:
        after["metadata"] = {**before["metadata"], **call.parameters.mapping("metadata")}
    _set_end(call, after, at_ms // 1000)
    prorates = call.parameters.choice("proration_behavior", _PRORATIONS) or "create_prorations"
    pending = [asdict(span) for span in spans] if before["billing_mode"]["type"] == "flexible" and prorates != "none" else []
    after["pending_spans"] = [*before["pending_spans"], *pending]
    records: list[Record] = []
    if prorates == "always_invoice" and after["pending_spans"]:
        records = _bill_now(call, after, [Span(**span) for span in after["pending_spans"]], at_ms)
        after["pending_spans"] = []
    clock = call.state.clock_of(before["customer"])
    records = [*stored("subscription", after), due(clock, "period_end", after["id"], _next_ms(after)), *records]
    previous = {
        name: shown(before)[name]
        for name in ("items", "cancel_at", "cancel_at_period_end", "canceled_at", "latest_invoice", "metadata")
        if before[name] != after[name]
    }
    happened = occurred(call.state, "customer.subscription.updated", shown(after), at_ms, deliver_ms=call.now_ms, previous=previous)
    return Answer(shown(after, call.expand), [*records, *happened])


def cancel(call: Call) -> Answer:
    """End a subscription at once; its usage is billed only if ``invoice_now`` says so."""
    before = _running(call)
    at_ms = call.state.now_ms_for(before["customer"], call.now_ms)
    at = at_ms // 1000
    after = {**before, "canceled_at": at, "ended_at": at, "pending_spans": [], "status": "canceled"}
    after["cancellation_details"] = {**before["cancellation_details"], "reason": "cancellation_requested"}
    call.parameters.boolean("prorate")
    records: list[Record] = []
    if call.parameters.boolean("invoice_now"):
        spans = [Span(**span) for span in before["pending_spans"]]
        spans += [Span(item, begins, at) for item in before["items"] if (begins := cycle.billed_from(item)) < at]
        records = _bill_now(call, after, spans, at_ms) if spans else []
    clock = call.state.clock_of(before["customer"])
    records = [*stored("subscription", after), due(clock, "period_end", after["id"], None), *records]
    happened = occurred(call.state, "customer.subscription.deleted", shown(after), at_ms, deliver_ms=call.now_ms)
    return Answer(shown(after), [*records, *happened])


def _running(call: Call) -> Object:
    found = call.needed("subscription")
    if found["status"] == "canceled":
        raise errors.no_such("subscription", call.argument, "id", status=404)
    return found


def _next_ms(subscription: Object) -> int:
    ends = next_end(subscription)
    return min(ends, subscription["cancel_at"] or ends) * 1000


def _set_end(call: Call, after: Object, at: int) -> None:
    """Read when the subscription is to end: with its period, at a date, or not at all."""
    parameters = call.parameters
    with_period, date = parameters.boolean("cancel_at_period_end"), parameters.integer("cancel_at")
    if date is not None and date <= at:
        raise errors.StripeError("cancel_at must be in the future.", parameter="cancel_at")
    if with_period is not None:
        after["cancel_at_period_end"] = with_period
        after["cancel_at"] = next_end(after) if with_period else None
    if date is not None:
        after["cancel_at"] = date
    if after["cancel_at"] is None:
        after["canceled_at"] = None
    elif with_period or date is not None:
        after["canceled_at"] = at


def _bill_now(call: Call, subscription: Object, spans: list[Span], at_ms: int) -> list[Record]:
    """Make an invoice that is final at once; grace belongs to the invoices of a cycle only."""
    invoice, records = cycle.draft(call.state, subscription, spans, at_ms, call.now_ms, "subscription_update")
    subscription["latest_invoice"] = invoice["id"]
    return records


def _with_items(call: Call, before: Object, at_ms: int) -> tuple[Object, list[Span]]:
    """Give the subscription with its items changed, and what each old price had been used for until now."""
    items: dict[str, Object] = {item["id"]: item for item in before["items"]}
    spans = []
    for number, wish in enumerate(call.parameters.children("items", accepts=("clear_usage", "deleted", "id", "metadata", "price"))):
        identifier = wish.text("id")
        if wish.boolean("clear_usage") is not None and before["billing_mode"]["type"] == "flexible":
            raise errors.unsupported_in_flexible("clear_usage")
        if identifier is None:
            made = item_of(call, before["id"], len(items) + number, wish)
            items[made["id"]] = {**made, **period_of(made, at_ms // 1000, at_ms // 1000, before["billing_cycle_anchor"])}
            continue
        if identifier not in items:
            raise errors.no_such("subscription item", identifier, f"items[{number}][id]")
        old = items[identifier]
        if wish.boolean("deleted"):
            spans.append(_used(call, before, old, at_ms))
            del items[identifier]
        elif "price" in wish and wish.needed_text("price") != old["price"]["id"]:
            spans.append(_used(call, before, old, at_ms))
            items[identifier] = _swapped(call, before, old, wish, at_ms // 1000)
    if not items:
        raise errors.StripeError("A subscription must have at least one active item.", parameter="items")
    if len({item["price"]["currency"] for item in items.values()}) > 1:
        raise errors.StripeError("All prices on a subscription must have the same `currency`.", parameter="items")
    return {**before, "items": list(items.values())}, [span for span in spans if span.start < span.end]


def _swapped(call: Call, subscription: Object, old: Object, wish: Parameters, at: int) -> Object:
    """Put another price behind an item; its usage counts from now on."""
    parts: dict[str, Any] = priced(call, wish.needed_text("price"), "items[price]")
    after = {**old, **parts, "billed_from": at}
    before_interval, interval = old["price"]["recurring"], after["price"]["recurring"]
    if (before_interval["interval"], before_interval["interval_count"]) != (interval["interval"], interval["interval_count"]):
        after |= period_of(after, at, at, subscription["billing_cycle_anchor"])
    return after


def _used(call: Call, subscription: Object, item: Object, at_ms: int) -> Span:
    """Fix what an item was used for until now: what is reported later for this time is on no invoice."""
    span = Span(item, cycle.billed_from(item), at_ms // 1000)
    before_ms = None if call.state.clock_of(subscription["customer"]) else at_ms + 1
    quantity = billed_quantity(call.state, span, subscription["customer"], received_before(call.state, before_ms))
    return Span(item, span.start, span.end, fixed=str(quantity), invoice_item=f"ii_{item['id'].removeprefix('si_')}_{span.end}")


ROUTES = (
    Route(
        "POST",
        "/v1/subscriptions/{id}",
        update,
        frozenset({"cancel_at", "cancel_at_period_end", "items", "metadata", "proration_behavior"}),
        (),
        frozenset({"items.data.price.tiers"}),
    ),
    Route("DELETE", "/v1/subscriptions/{id}", cancel, frozenset({"invoice_now", "prorate"})),
)
