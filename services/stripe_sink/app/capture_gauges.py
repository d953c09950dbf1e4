"""What capture shows of the partitions that it owns: how far the ledger is behind the topics, and since when."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from confluent_kafka import KafkaException

from services.stripe_sink.adapters.capture_topics import At
from services.stripe_sink.core.inflow import Inflow, Kind
from services.stripe_sink.metrics import capture as metrics
from trueup.ledger.store.capture import Captured
from trueup.runtime import log
from trueup.runtime.kafka import OffsetsReader
from trueup.runtime.metrics import Registry


class CaptureGauges:
    """Only the owner of a partition shows its gauges."""

    def __init__(self, registry: Registry, topics: Mapping[Kind, str], ends: OffsetsReader) -> None:
        self._registry = registry
        self._topics = topics
        self._ends = ends
        self._log = log.get("capture")

    def show(self, inflows: Mapping[int, Inflow], at_their_ends: Collection[At]) -> None:
        """Show what waits now. While the broker does not say how far topics go, the lag stays what it was."""
        self._registry.set(metrics.OWNED, len(inflows))
        oldest = {
            (topic, str(partition)): (inflow.oldest_arrival_ms(kind) or 0) / 1_000
            for partition, inflow in inflows.items()
            for kind, topic in self._topics.items()
        }
        self._registry.replace(metrics.OLDEST, oldest)
        try:
            self._registry.replace(metrics.LAG, self._lag(inflows, at_their_ends))
        except KafkaException as failure:
            # The first answer that does not come is the last one asked for: each would be waited for.
            self._log.info("lag not known", why=str(failure))

    def count(self, captured: Captured) -> None:
        """Count what one transaction wrote, and how long it took to get there."""
        decision = captured.decision
        late = sum([row.late for row in decision.events])
        counts = (len(decision.events) - late, late, len(decision.duplicates), len(decision.conflicts), len(decision.refusals))
        for outcome, count in zip(metrics.OUTCOMES, counts, strict=True):
            self._registry.increase(metrics.EVENTS, count, room=metrics.ROOM, outcome=outcome)
        for row in decision.source_batches:
            if not row.arrived.events:
                continue  # over control records alone: the arrival that it names is that of an older one
            self._registry.observe(metrics.ARRIVAL_TO_LEDGER, max(0, captured.recorded_at_ms - row.last_arrival_ms) / 1_000)

    def _lag(self, inflows: Mapping[int, Inflow], at_their_ends: Collection[At]) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for partition, inflow in inflows.items():
            for kind, topic in self._topics.items():
                behind = 0
                # At the end the position stands before control records, which nobody will ever read.
                if not inflow.empty or (kind, partition) not in at_their_ends:
                    behind = self._ends.low_and_high(topic, partition)[1] - inflow.positions[kind]
                found[topic, str(partition)] = max(0, behind)
        return found
