"""Every metric of this room, each with what it means."""

from __future__ import annotations

from trueup.runtime.metrics import Kind, Metric

DIFFERENCE = Metric(
    Kind.GAUGE,
    "reconciliation_difference_units",
    "Settled differences between Stripe's summaries and what it acknowledged, in the meter's unit, each hour without its sign.",
    ("meter",),
)
LAST_SUCCESS = Metric(
    Kind.GAUGE, "reconciliation_last_success_timestamp_seconds", "When a round of reading Stripe last ended with every answer."
)
READS = Metric(Kind.COUNTER, "reconciliation_reads_total", "Readings of Stripe by what was read and how it went.", ("what", "outcome"))
AT_RISK = Metric(
    Kind.GAUGE,
    "at_risk_minor_units",
    "Value of usage that may not reach its invoice, for trends only; no sample while no price is known.",
    ("state", "currency"),
)
UNBILLED = Metric(
    Kind.GAUGE,
    "unbilled_positions",
    "Rows of finance.unbilled_usage, by what keeps them off an invoice: a customer, meter and hour each, whether a price is known or not.",
    ("state",),
)
PROOF_VIOLATIONS = Metric(
    Kind.GAUGE, "proof_violations", "Violations at the last evaluation of each check; 1 where something waited past its limit.", ("check",)
)
PROOF_PENDING = Metric(Kind.GAUGE, "proof_pending", "What waited for work on its way at the last evaluation of each check.", ("check",))
PROOF_STALE = Metric(
    Kind.GAUGE, "proof_stale", "What rested on a reading that is too old, at the last evaluation of each check.", ("check",)
)
PROOF_EVALUATIONS = Metric(
    Kind.COUNTER, "proof_evaluations_total", "Evaluations of each check; one that stands still proves nothing.", ("check",)
)
REVIEW_OPEN = Metric(Kind.GAUGE, "review_open", "Cases that wait for a person.", ("kind",))
CLOCK_SKEW = Metric(
    Kind.GAUGE, "clock_skew_seconds", "Our clock minus Stripe's, from the date of its last answer; 0 with a simulated clock."
)
WEBHOOKS = Metric(Kind.COUNTER, "webhooks_total", "Stripe's notifications read from their topic: new, or known already.", ("outcome",))
WEBHOOK_LAST = Metric(
    Kind.GAUGE,
    "webhook_last_received_timestamp_seconds",
    "When the newest notification of Stripe's reached our door, also before this process began; silence while usage is acknowledged means"
    " that webhooks do not come.",
)
EVENTS_MISSED = Metric(
    Kind.COUNTER, "stripe_events_missed_total", "Events that polling found and no webhook had brought: the endpoint has a gap."
)
EVENTS_MISSED_LAST = Metric(
    Kind.GAUGE,
    "stripe_events_missed_timestamp_seconds",
    "When polling last found an event that no webhook had brought, also before this process began; 0 while it never did.",
)
METER_EVENTS_REJECTED = Metric(
    Kind.COUNTER,
    "stripe_meter_events_rejected_total",
    "Meter events that Stripe received with 2xx and refused then, by its own reports: usage that no invoice will bill.",
)
DEADLINE = Metric(
    Kind.GAUGE,
    "deadline_timestamp_seconds",
    "The earliest deadline of what is not through: usage unsent or in flight, and periods closing or not provable.",
    ("state",),
)
NOT_PROVABLE = Metric(
    Kind.GAUGE,
    "periods_not_provable",
    "Billing periods whose deadline came within the last day before it was proved that Stripe has all of them, by currency.",
    ("currency",),
)
NOT_PROVABLE_WORTH = Metric(
    Kind.GAUGE,
    "periods_not_provable_minor_units",
    "What of those periods is not proved to be with Stripe, at the customers' marginal prices, for trends only; 0 where no price is known.",
    ("currency",),
)

ALL = (
    NOT_PROVABLE,
    NOT_PROVABLE_WORTH,
    WEBHOOKS,
    WEBHOOK_LAST,
    EVENTS_MISSED,
    EVENTS_MISSED_LAST,
    METER_EVENTS_REJECTED,
    DEADLINE,
    DIFFERENCE,
    LAST_SUCCESS,
    READS,
    AT_RISK,
    UNBILLED,
    PROOF_VIOLATIONS,
    PROOF_PENDING,
    PROOF_STALE,
    PROOF_EVALUATIONS,
    REVIEW_OPEN,
    CLOCK_SKEW,
)
