"""What dashboards and alerts of others are written against: a metric keeps its name, its kind and its labels."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.tidy.source import REPOSITORY
from trueup.runtime.metrics import Kind, Metric

C, G, H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
ANY = "trueup.runtime.metrics"
INGEST, DEDUPE, RECONCILER = "services.ingest.metrics", "services.dedupe.metrics", "services.reconciler.metrics"
CAPTURE, DISPATCH = "services.stripe_sink.metrics.capture", "services.stripe_sink.metrics.dispatch"
# Name, kind, labels, and who shows it. A change here breaks somebody's dashboard: it belongs into the changelog.
PROMISED = [
    ("events_total", C, ("room", "outcome"), (INGEST, DEDUPE, CAPTURE)),
    ("commit_seconds", H, (), (INGEST, DEDUPE, CAPTURE)),
    ("arrival_to_ledger_seconds", H, (), (CAPTURE,)),
    ("oldest_unprocessed_timestamp_seconds", G, ("topic", "partition"), (DEDUPE, CAPTURE)),
    ("lag_records", G, ("topic", "partition"), (DEDUPE, CAPTURE)),
    ("outbox_pending", G, ("state",), (DISPATCH,)),
    ("outbox_oldest_timestamp_seconds", G, ("state",), (DISPATCH,)),
    ("deadline_timestamp_seconds", G, ("state",), (DISPATCH, RECONCILER)),
    ("stripe_calls_total", C, ("outcome",), (DISPATCH,)),
    ("lanes_halted", G, ("reason",), (DISPATCH,)),
    ("dispatch_armed", G, (), (DISPATCH,)),
    ("reconciliation_difference_units", G, ("meter",), (RECONCILER,)),
    ("reconciliation_last_success_timestamp_seconds", G, (), (RECONCILER,)),
    ("webhook_last_received_timestamp_seconds", G, (), (INGEST, RECONCILER)),
    ("at_risk_minor_units", G, ("state", "currency"), (RECONCILER,)),
    ("proof_violations", G, ("check",), (RECONCILER,)),
    ("proof_pending", G, ("check",), (RECONCILER,)),
    ("proof_evaluations_total", C, ("check",), (RECONCILER,)),
    ("review_open", G, ("kind",), (RECONCILER,)),
    ("catalogue_version", G, (), (INGEST, DEDUPE, CAPTURE)),
    ("clock_skew_seconds", G, (), (RECONCILER,)),
    ("build_info", G, ("room", "version"), (ANY,)),
]


def declared() -> dict[str, dict[str, Metric]]:
    """Every metric that a module declares, by its name; imported ones belong to where they come from."""
    found: dict[str, dict[str, Metric]] = {}
    for folder in ("services", "trueup"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            if " = Metric(" in path.read_text(encoding="utf-8"):
                module = module_of(path)
                members = vars(importlib.import_module(module)).values()
                found[module] = {member.name: member for member in members if isinstance(member, Metric)}
    return found


def module_of(path: Path) -> str:
    """The dotted name of a file of this repository."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


DECLARED = declared()


@pytest.mark.parametrize(("name", "kind", "labels", "modules"), PROMISED, ids=[row[0] for row in PROMISED])
def test_promised_metric_is_declared_by_that_name_kind_and_labels(
    name: str, kind: Kind, labels: tuple[str, ...], modules: tuple[str, ...]
) -> None:
    """Wherever it is shown it is the same metric, so that a query may sum over the rooms."""
    shown = {module: metrics[name] for module, metrics in DECLARED.items() if name in metrics}
    assert set(shown) == set(modules)
    assert {(metric.kind, metric.labels) for metric in shown.values()} == {(kind, labels)}


def test_no_metric_has_a_customer_in_a_label() -> None:
    """There are too many of them for a series each, and who reads metrics need not know them."""
    labels = {label for metrics in DECLARED.values() for metric in metrics.values() for label in metric.labels}
    assert labels and not [label for label in labels if "customer" in label]


def test_money_in_a_gauge_says_that_it_is_for_trends() -> None:
    """No invoice may be checked against a float."""
    money = [metric for metrics in DECLARED.values() for metric in metrics.values() if metric.name.endswith("_minor_units")]
    assert len(money) > 1 and all("for trends only" in metric.means for metric in money)
