"""What dispatch measures."""

from __future__ import annotations

from trueup.runtime.metrics import Kind, Metric

OUTBOX_PENDING = Metric(
    Kind.GAUGE,
    "outbox_pending",
    "What waits on our side: segments not cut into intents yet (unsent), intents to be sent (in_flight), intents whose outcome "
    "nobody knows yet (unknown), segments of which nobody knows yet whom (unmapped) or what (no_plan, ambiguous_plan) to send them "
    "for, and segments that no subscription of their customer has a price for (no_price).",
    ("state",),
)
OUTBOX_OLDEST = Metric(
    Kind.GAUGE, "outbox_oldest_timestamp_seconds", "The oldest usage that waits in a state; 0 while none does.", ("state",)
)
DEADLINE = Metric(
    Kind.GAUGE,
    "deadline_timestamp_seconds",
    "The earliest date after which what waits in a state can no longer be sent: its period's deadline or its meter's horizon, and "
    "for unknown outcomes 20 h after the first attempt that may have arrived (then it is settled by reading); 0 while nothing waits.",
    ("state",),
)
STRIPE_CALLS = Metric(Kind.COUNTER, "stripe_calls_total", "Meter events sent to Stripe, by what the answer means.", ("outcome",))
STRIPE_CALL_SECONDS = Metric(Kind.HISTOGRAM, "stripe_call_seconds", "How long Stripe took to answer a meter event.")
HALT_REASONS = (
    "sink_broken",
    "value_too_long",
    "too_large",
    "body_changed",
    "client_failed",
    "identifier_taken",
    "not_found",
    "other_identifier_echoed",
    "unclassified_answer",
    "stripe_has_more",
    "stripe_has_less",
    "no_set_explains_summary",
)
"""Reasons shown from the start, so that none of them is absent while it counts nothing; others are shown once they were met."""
LANES_HALTED = Metric(
    Kind.GAUGE,
    "lanes_halted",
    "Lanes (Stripe customer and meter) that wait for a person: see `trueup stripe status`. A reason that begins with sink_ stops all of "
    "a sink: its /readyz says why.",
    ("reason",),
)
DISPATCH_ARMED = Metric(
    Kind.GAUGE, "dispatch_armed", "1 when this database may send usage to Stripe. A new or restored one is 0 until it is armed."
)
INTENTS_CUT = Metric(Kind.COUNTER, "intents_cut_total", "Intents written by the cutter.")
DISPATCH_FAILURES = Metric(
    Kind.COUNTER, "dispatch_failures_total", "Rounds of a dispatch thread that failed and are tried again.", ("thread",)
)

ALL = (
    OUTBOX_PENDING,
    OUTBOX_OLDEST,
    DEADLINE,
    STRIPE_CALLS,
    STRIPE_CALL_SECONDS,
    LANES_HALTED,
    DISPATCH_ARMED,
    INTENTS_CUT,
    DISPATCH_FAILURES,
)
