"""The billing cycle: a period ends, a draft is made, its grace passes, it is finalized and paid.

Every step is done as of the date it was due, however late somebody looks: usage received after that date is not in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict

from devstack.stripe_emulator import thin_events
from devstack.stripe_emulator.agenda import Due
from devstack.stripe_emulator.call import due, object_id, stored
from devstack.stripe_emulator.events import endpoints_for, occurred
from devstack.stripe_emulator.invoice_lines import Count, Span, aggregated_by, lines_of, received_before
from devstack.stripe_emulator.invoice_objects import invoice_of, shown, with_lines
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.state import Object, State
from devstack.stripe_emulator.subscriptions import next_end, period_of
from devstack.stripe_emulator.subscriptions import shown as shown_subscription
from devstack.stripe_emulator.switches import LONGEST_GRACE_SECONDS


def step(state: State, falling_due: Due, street_ms: int) -> list[Record]:
    """Do what falls due."""
    if falling_due.kind == "period_end":
        return _end_period(state, falling_due.identifier, falling_due.at_ms, street_ms)
    if falling_due.kind == "error_report":
        return thin_events.report(state, falling_due.identifier, falling_due.at_ms)
    return finalize(state, falling_due.identifier, falling_due.at_ms, street_ms)


def _end_period(state: State, identifier: str, at_ms: int, street_ms: int) -> list[Record]:
    """Bill the periods that end now and begin the next ones, or end the subscription."""
    before, at = state.objects["subscription"][identifier], at_ms // 1000
    cancels = before["cancel_at"] is not None and before["cancel_at"] <= at
    ended = [item for item in before["items"] if cancels or item["current_period_end"] <= at]
    after = {**before, "items": [_renewed(before, item, at) if item in ended else item for item in before["items"]], "pending_spans": []}
    if cancels:
        after = {**before, "status": "canceled", "ended_at": at, "pending_spans": []}
    spans = [Span(**span) for span in before["pending_spans"]]
    spans += [_span(state, item, min(at, item["current_period_end"]), at_ms) for item in ended]
    invoice, made = draft(state, after, spans, at_ms, street_ms, "subscription_cycle")
    after["latest_invoice"] = invoice["id"]
    clock, deliver_ms = _domain(state, before["customer"], at_ms, street_ms)
    following = None if cancels else min(next_end(after), after["cancel_at"] or next_end(after)) * 1000
    records = [*stored("subscription", after), due(clock, "period_end", identifier, following)]
    if cancels:
        records += occurred(state, "customer.subscription.deleted", shown_subscription(after), at_ms, deliver_ms=deliver_ms)
    else:
        previous = {"items": shown_subscription(before)["items"], "latest_invoice": before["latest_invoice"]}
        records += occurred(
            state, "customer.subscription.updated", shown_subscription(after), at_ms, deliver_ms=deliver_ms, previous=previous
        )
    return records + made


def billed_from(item: Object) -> int:
    """Give since when an item's usage is billed: its period's beginning, or the change of its price in it."""
    return int(max(item["current_period_start"], item.get("billed_from", 0)))


def _span(state: State, item: Object, end: int, at_ms: int) -> Span:
    """Bill an item until its period's end. After a change of price within it, what the grace brings counts for nothing."""
    begins = billed_from(item)
    swapped = begins > item["current_period_start"] and state.switches.grace_after_swap == "lost"
    return Span(item, begins, end, until_ms=at_ms if swapped else None)


def _renewed(subscription: Object, item: Object, at: int) -> Object:
    return {**item, **period_of(item, at, subscription["start_date"], subscription["billing_cycle_anchor"])}


def _domain(state: State, customer: str, at_ms: int, street_ms: int) -> tuple[str, int]:
    """Name the clock that a customer lives by, and the street's date at which its events are delivered."""
    clock = state.clock_of(customer)
    return clock, street_ms if clock else at_ms


def draft(state: State, subscription: Object, spans: list[Span], at_ms: int, street_ms: int, reason: str) -> tuple[Object, list[Record]]:
    """Make a draft invoice and say when it finalizes."""
    customer, at = state.objects["customer"][subscription["customer"]], at_ms // 1000
    clock, deliver_ms = _domain(state, customer["id"], at_ms, street_ms)
    at_once = reason == "subscription_update"
    identifier, grace = object_id("in"), 0 if at_once else int(state.switches.finalization_grace_seconds)
    lines = lines_of(state, subscription, spans, aggregated_by(state, street_ms if clock else at_ms), identifier)
    period = (min(span.start for span in spans), max(span.end for span in spans))
    invoice = {
        **invoice_of(subscription, customer, identifier, period, lines),
        "auto_advance": True,
        "automatically_finalizes_at": at + grace,
        "billing_reason": reason,
        "created": at,
        "next_payment_attempt": at + grace,
    }
    waits = not at_once and not clock and state.switches.invoice_created_gate != "off" and bool(endpoints_for(state, "invoice.created"))
    at_latest = at_ms + (0 if at_once else max(grace, LONGEST_GRACE_SECONDS if waits else 0) * 1000)
    created = occurred(state, "invoice.created", shown(invoice), at_ms, deliver_ms=deliver_ms)
    drafted = {
        "record": "draft",
        "invoice": identifier,
        "subscription": subscription["id"],
        "spans": [asdict(span) for span in spans],
        "events": [record["event"]["id"] for record in created if record["record"] == "event"][:1],
        "at_latest_ms": at_latest,
        "fixed": at_once,
        "at_once": at_once,
    }
    return invoice, [*stored("invoice", invoice), drafted, due(clock, "finalization", identifier, at_latest), *created]


def finalize(state: State, identifier: str, at_ms: int, street_ms: int, *, by_hand: bool = False) -> list[Record]:
    """Count for the last time, give a number, and pay. What is received from now on is on no invoice."""
    found, drafted, at = state.objects["invoice"][identifier], state.drafts[identifier], at_ms // 1000
    clock, deliver_ms = _domain(state, found["customer"], at_ms, street_ms)
    subscription = state.objects["subscription"][drafted["subscription"]]
    spans = [Span(**span) for span in drafted["spans"]]
    # A date falls due before the requests of its instant; whoever finalizes by hand does so after those that came before.
    before_ms = None if clock else at_ms + (1 if by_hand or drafted["at_once"] else 0)
    counted = _final_count(state, clock, at_ms, street_ms, before_ms)
    lines = lines_of(state, subscription, spans, counted, identifier)
    customer = state.objects["customer"][found["customer"]]
    sequence = customer.get("next_invoice_sequence", 1)
    final = {
        **with_lines(found, lines),
        "attempted": True,
        "auto_advance": False,
        "automatically_finalizes_at": None,
        "effective_at": at,
        "ending_balance": 0,
        "next_payment_attempt": None,
        "number": f"{_prefix(customer)}-{sequence:04d}",
        "status": "open",
        "status_transitions": {**found["status_transitions"], "finalized_at": at},
    }
    settled, kinds = _paid(state, final, at)
    records = [*stored("invoice", settled), due(clock, "finalization", identifier, None)]
    if not customer.get("deleted"):
        records += stored("customer", {**customer, "next_invoice_sequence": sequence + 1})
    records += occurred(state, "invoice.finalized", shown(final), at_ms, deliver_ms=deliver_ms)
    for kind in kinds:
        records += occurred(state, kind, shown(settled), at_ms, deliver_ms=deliver_ms)
    return records


def _prefix(customer: Object) -> str:
    return customer.get("invoice_prefix") or hashlib.blake2b(customer["id"].encode(), digest_size=4).hexdigest().upper()


def _final_count(state: State, clock: str, at_ms: int, street_ms: int, before_ms: int | None) -> Count:
    if state.switches.finalization_counts == "aggregated":
        return aggregated_by(state, street_ms if clock else at_ms)
    # On a test clock all requests are made before the advance that finalizes, whatever the street's date says.
    return received_before(state, before_ms)


def _paid(state: State, invoice: Object, at: int) -> tuple[Object, tuple[str, ...]]:
    """Pay at once, with the customer's card; or fail to."""
    total = invoice["total"]
    if state.switches.payment == "fails" and total > 0:
        return {**invoice, "attempt_count": 1}, ("invoice.payment_failed",)
    paid = {
        **invoice,
        "amount_paid": total,
        "amount_remaining": 0,
        "attempt_count": 1 if total else 0,
        "status": "paid",
        "status_transitions": {**invoice["status_transitions"], "paid_at": at},
    }
    return paid, ("invoice.paid", "invoice.payment_succeeded")


def gate_opens(state: State, event: Object, at_ms: int) -> list[Record]:
    """Let the grace of a draft begin, if this delivery of its ``invoice.created`` was the last one waited for."""
    identifier = event["data"]["object"]["id"]
    drafted, invoice = state.drafts.get(identifier), state.find("invoice", identifier)
    if drafted is None or invoice is None or invoice["status"] != "draft" or drafted["fixed"] or event["id"] not in drafted["events"]:
        return []
    grace = int(state.switches.finalization_grace_seconds)
    finalizes_ms = min(at_ms + grace * 1000, drafted["at_latest_ms"])
    changed = {**invoice, "automatically_finalizes_at": finalizes_ms // 1000, "webhooks_delivered_at": at_ms // 1000}
    clock = state.clock_of(invoice["customer"])
    return [*stored("invoice", changed), {**drafted, "events": []}, due(clock, "finalization", identifier, finalizes_ms)]
