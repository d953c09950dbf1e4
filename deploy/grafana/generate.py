"""Writes the Grafana dashboard: `python deploy/grafana/generate.py` (`make dashboards`). The JSON beside this file is what it wrote.

Rows follow the operator's questions: are we billing right now, and right? What may still be lost? Does usage flow? Do we see it all?
A panel whose target is "empty when healthy" says so in its description; the test on the running street takes it at its word.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
)

TARGET = Path(__file__).with_name("billing.json")
EMPTY_WHEN_HEALTHY = "Empty when healthy."
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True, slots=True)
class Panel:
    """One question: a title, what to do when the answer is bad, the queries with their legends."""

    title: str
    means: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    bad_above: float | None = None  # a stat turns red from here on
    bad_below: float | None = None
    as_stat: bool = False


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Are we billing right now, and right?",
        (
            Panel(
                "Claims violated",
                "Checks of `trueup prove` that do not hold. Above 0: `trueup prove` names the check. Runbook TrueupProofViolated.",
                (("sum(max by (check) (trueup_proof_violations))", "violations"),),
                bad_above=1,
                as_stat=True,
            ),
            Panel(
                "Checks evaluated in 30 min",
                "A proof that nobody evaluates shows no violation. 0: runbook TrueupProofNotEvaluated.",
                (("count(sum by (check) (increase(trueup_proof_evaluations_total[30m])) > 0)", "checks"),),
                bad_below=1,
                as_stat=True,
            ),
            Panel(
                "Dispatch armed",
                "1: usage may go to Stripe. 0: `trueup stripe status` says since when and why. Runbook TrueupDispatchDisarmed.",
                (("max(trueup_dispatch_armed)", "armed"),),
                bad_below=1,
                as_stat=True,
            ),
            Panel(
                "Lanes halted",
                "Customers and meters for which nothing is sent until a person has looked. Runbook TrueupLaneHalted.",
                (("sum(trueup_lanes_halted) or vector(0)", "lanes"),),
                bad_above=1,
                as_stat=True,
            ),
            Panel(
                "Difference with Stripe, in units",
                "Settled hours whose summary is not what was acknowledged, per meter. Runbook TrueupReconciliationDifference.",
                (("max by (meter) (trueup_reconciliation_difference_units)", "{{meter}}"),),
            ),
            Panel(
                "Calls of Stripe by outcome",
                "ack is what we want; retry is throttling; unknown is settled by reading; halt pages.",
                (("sum by (outcome) (rate(trueup_stripe_calls_total[$__rate_interval]))", "{{outcome}}"),),
                unit="reqps",
            ),
        ),
    ),
    (
        "What may still be lost?",
        (
            Panel(
                "Time to the nearest deadline",
                f"After it, usage in this state becomes a review case. {EMPTY_WHEN_HEALTHY} Runbook TrueupDeadlineNear.",
                (("min by (state) (trueup_deadline_timestamp_seconds > 0) - time()", "{{state}}"),),
                unit="s",
            ),
            Panel(
                "Waiting on our side",
                "Segments not cut yet (unsent), intents to be sent (in_flight), intents whose outcome nobody knows (unknown).",
                (("sum by (state) (trueup_outbox_pending)", "{{state}}"),),
            ),
            Panel(
                "Age of the oldest waiting usage",
                f"By date of usage. Over six hours: runbook TrueupOutboxOld. {EMPTY_WHEN_HEALTHY}",
                (("time() - min by (state) (trueup_outbox_oldest_timestamp_seconds > 0)", "{{state}}"),),
                unit="s",
            ),
            Panel(
                "Money at risk",
                f"Minor units, for trends; finance.unbilled_usage is exact. {EMPTY_WHEN_HEALTHY} Runbook TrueupMissedInvoice.",
                (("sum by (state, currency) (trueup_at_risk_minor_units)", "{{state}} {{currency}}"),),
            ),
            Panel(
                "Cases for a person",
                f"Open cases of the review queue by kind. {EMPTY_WHEN_HEALTHY}",
                (("max by (kind) (trueup_review_open)", "{{kind}}"),),
            ),
        ),
    ),
    (
        "Does usage flow?",
        (
            Panel(
                "Events decided",
                "What the dedupe rooms said of events. Refused rising: `trueup rejected list`.",
                (('sum by (outcome) (rate(trueup_events_total{room="dedupe"}[$__rate_interval]))', "{{outcome}}"),),
                unit="ops",
            ),
            Panel(
                "Events in the ledger",
                "What capture committed. It follows the panel before it within seconds.",
                (('sum by (outcome) (rate(trueup_events_total{room="stripe_sink"}[$__rate_interval]))', "{{outcome}}"),),
                unit="ops",
            ),
            Panel(
                "From arrival to ledger, 99th percentile",
                "Of batches: the append time of the last event to the commit.",
                (("histogram_quantile(0.99, sum by (le) (rate(trueup_arrival_to_ledger_seconds_bucket[5m])))", "p99"),),
                unit="s",
            ),
            Panel(
                "Records waiting",
                "By topic. Growing with idle workers: a partition that nobody owns. Runbook TrueupUsageWaits.",
                (("sum by (topic) (trueup_lag_records)", "{{topic}}"),),
            ),
            Panel(
                "Refused by reason",
                "The bytes are kept: `trueup rejected list --reason …`.",
                (("sum by (reason) (rate(trueup_refused_total[$__rate_interval]))", "{{reason}}"),),
                unit="ops",
            ),
        ),
    ),
    (
        "Do we see it all?",
        (
            Panel(
                "Rooms that answer",
                "Each room's own port. Down with exit code 3: halted on purpose. Runbook TrueupRoomDown.",
                (('up{job="trueup"}', "{{part}}"),),
            ),
            Panel(
                "Since Stripe was read back",
                "Age of the last whole round of the reconciler. Runbook TrueupReconciliationStale.",
                (("time() - max(trueup_reconciliation_last_success_timestamp_seconds)", "age"),),
                unit="s",
            ),
            Panel(
                "Clock skew",
                "Our clock minus Stripe's. Runbook TrueupClockSkew.",
                (("max(abs(trueup_clock_skew_seconds))", "skew"),),
                unit="s",
            ),
            Panel(
                "Catalogue version in each room",
                "All rooms take up a new version within a minute.",
                (("max by (part) (trueup_catalogue_version)", "{{part}}"),),
            ),
        ),
    ),
)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    green, red = "green", "red"
    if panel.bad_below is not None:
        steps = [Threshold(value=None, color=red), Threshold(value=panel.bad_below, color=green)]
    else:
        steps = [Threshold(value=None, color=green)]
        if panel.bad_above is not None:
            steps.append(Threshold(value=panel.bad_above, color=red))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    made = stat.Panel().color_mode(BigValueColorMode.BACKGROUND).span(6) if panel.as_stat else timeseries.Panel().span(12)
    made = made.title(panel.title).description(panel.means).datasource(_SOURCE).unit(panel.unit).height(5 if panel.as_stat else 8)
    made = made.thresholds(_thresholds(panel))
    for number, (expression, legend) in enumerate(panel.queries):
        made = made.with_target(prometheus.Dataquery().expr(expression).legend_format(legend).ref_id("ABCDEFGH"[number]))
    return made


def build() -> str:
    """The dashboard as Grafana's JSON."""
    made = (
        dashboard.Dashboard("Trueup: are we billing right now, and right?")
        .uid("trueup-billing")
        .description("From the top: correctness, money at risk, flow, sight. Generated by deploy/grafana/generate.py.")
        .tags(["trueup", "billing"])
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for title, panels in ROWS:
        made = made.with_row(dashboard.Row(title))
        for panel in panels:
            made = made.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


if __name__ == "__main__":
    TARGET.write_text(build())
    sys.stdout.write(f"{TARGET.name}: {sum(len(panels) for _, panels in ROWS)} panels\n")
