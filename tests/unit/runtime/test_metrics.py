"""A metric exists once and says what it means."""

import pytest

from trueup.runtime.metrics import Kind, Metric, Registry

EVENTS = Metric(Kind.COUNTER, "events_total", "Events by what became of them.", ("outcome",))
ARMED = Metric(Kind.GAUGE, "dispatch_armed", "1 while calls to Stripe are allowed.")
COMMIT = Metric(Kind.HISTOGRAM, "commit_seconds", "How long a commit took.", buckets=(0.1, 1.0))


def test_declared_metrics_are_rendered_with_the_prefix() -> None:
    """What Prometheus reads has the names of the contract."""
    registry = Registry(EVENTS, ARMED, COMMIT, room="dedupe-1")
    registry.increase(EVENTS, 3, outcome="late")
    registry.set(ARMED, 1)
    registry.observe(COMMIT, 0.5)
    text = registry.render().decode()
    assert 'trueup_events_total{outcome="late"} 3.0' in text
    assert "trueup_dispatch_armed 1.0" in text
    assert 'trueup_commit_seconds_bucket{le="1.0"} 1.0' in text
    assert 'trueup_build_info{room="dedupe-1"' in text


def test_undeclared_or_misused_metric_is_an_error_at_once() -> None:
    """A misspelt label or kind must not wait for a dashboard to be missed."""
    registry = Registry(EVENTS, ARMED)
    with pytest.raises(KeyError):
        registry.observe(COMMIT, 1)
    with pytest.raises(TypeError):
        registry.set(EVENTS, 1, outcome="late")
    with pytest.raises(ValueError, match="label"):
        registry.increase(EVENTS, 1, fate="late")
    with pytest.raises(ValueError):
        Registry(EVENTS, Metric(Kind.COUNTER, "events_total", "The same name again."))
    with pytest.raises(ValueError, match="prefix"):
        Metric(Kind.GAUGE, "trueup_x", "x")


def test_replaced_gauge_shows_nothing_that_is_gone() -> None:
    """A partition that moved away leaves no stale lag behind; one that stays is there whenever somebody looks."""
    lag = Metric(Kind.GAUGE, "lag_records", "Records not read yet.", ("topic", "partition"))
    registry = Registry(lag)
    registry.replace(lag, {("usage", "1"): 5, ("usage", "2"): 6})
    with pytest.raises(ValueError):
        registry.replace(lag, {("usage",): 7})
    registry.replace(lag, {("usage", "2"): 0, ("usage", "3"): 7})
    shown = [line for line in registry.render().decode().splitlines() if line.startswith("trueup_lag_records")]
    assert shown == ['trueup_lag_records{partition="2",topic="usage"} 0.0', 'trueup_lag_records{partition="3",topic="usage"} 7.0']
    registry.replace(lag, {})
    assert "trueup_lag_records{" not in registry.render().decode()
