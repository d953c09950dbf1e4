"""Metrics are declared once, each with the sentence an operator needs at 3 a.m."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics import MetricWrapperBase

Labels = TypeVar("Labels", bound=tuple[str, ...])

PREFIX = "trueup_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class Kind(StrEnum):
    """How a metric moves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A declaration; its name is written without the prefix."""

    kind: Kind
    name: str
    means: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS_BUCKETS

    def __post_init__(self) -> None:
        if self.name.startswith(PREFIX):
            raise ValueError(f"{self.name}: the prefix is added for everyone")
        if not self.means:
            raise ValueError(f"{self.name}: say what it means")


BUILD_INFO = Metric(Kind.GAUGE, "build_info", "Always 1; the labels say which build of which room this is.", ("room", "version"))


class Registry:
    """The metrics of one process. Using one that was not declared, or with other labels, is an error at once."""

    def __init__(self, *declared: Metric, room: str = "") -> None:
        self._collectors = CollectorRegistry()
        ProcessCollector(registry=self._collectors)
        PlatformCollector(registry=self._collectors)
        self._metrics: dict[Metric, MetricWrapperBase] = {}
        self._replaced: dict[Metric, frozenset[tuple[str, ...]]] = {}
        for metric in (*declared, BUILD_INFO):
            self._metrics[metric] = self._make(metric)
        self.set(BUILD_INFO, 1, room=room, version=version("trueup"))

    def _make(self, metric: Metric) -> MetricWrapperBase:
        name = f"{PREFIX}{metric.name}"
        if metric.kind is Kind.COUNTER:
            return Counter(name, metric.means, metric.labels, registry=self._collectors)
        if metric.kind is Kind.GAUGE:
            return Gauge(name, metric.means, metric.labels, registry=self._collectors)
        return Histogram(name, metric.means, metric.labels, registry=self._collectors, buckets=metric.buckets)

    def _child(self, metric: Metric, labels: dict[str, str]) -> MetricWrapperBase:
        held = self._metrics[metric]
        return held.labels(**labels) if labels else held

    def increase(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        child = self._child(metric, labels)
        if not isinstance(child, Counter):
            raise TypeError(f"{metric.name} is a {metric.kind}, not a counter")
        child.inc(amount)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Sets a gauge."""
        child = self._child(metric, labels)
        if not isinstance(child, Gauge):
            raise TypeError(f"{metric.name} is a {metric.kind}, not a gauge")
        child.set(value)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Adds an observation to a histogram."""
        child = self._child(metric, labels)
        if not isinstance(child, Histogram):
            raise TypeError(f"{metric.name} is a {metric.kind}, not a histogram")
        child.observe(value)

    def replace(self, metric: Metric, values: Mapping[Labels, float]) -> None:
        """Sets a gauge to these values by its labels, in the order of their declaration, and shows no others any more.

        What is shown again never goes away in between: an alert that was about to fire would begin anew, and a case would seem closed.
        """
        for labels, value in values.items():
            self.set(metric, value, **dict(zip(metric.labels, labels, strict=True)))
        for gone in self._replaced.get(metric, frozenset()) - values.keys():
            self._metrics[metric].remove(*gone)
        self._replaced[metric] = frozenset(values)

    def render(self) -> bytes:
        """The text Prometheus reads."""
        return generate_latest(self._collectors)
