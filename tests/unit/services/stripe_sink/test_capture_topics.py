"""What the client says once has to be heard, whatever it says beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.stripe_sink.adapters import capture_topics
from services.stripe_sink.config import Settings


class FatalMessage:
    """How a consumer hears that it is dead."""

    def error(self) -> KafkaError:
        """As librdkafka 2.x tells it: a code of its own, not marked as fatal."""
        return KafkaError(KafkaError._FATAL, "Static consumer fenced by other consumer with same group.instance.id")


class DyingConsumer:
    """Loses its assignment and its life in one call, as seen after a broker came back; afterwards it never says anything again."""

    def __init__(self, _options: dict[str, Any]) -> None:
        self._said = False

    def subscribe(self, _topics: list[str], *, on_lost: Callable[[Any, list[Any]], None], **_others: Any) -> None:
        """Only the loss matters here."""
        self._on_lost = on_lost

    def consume(self, _most: int, _seconds: float) -> list[FatalMessage]:
        """Calls back and answers."""
        if self._said:
            return []
        self._said = True
        self._on_lost(self, [])
        return [FatalMessage()]

    def unassign(self) -> None:
        """Nothing was assigned."""


def test_a_dead_client_is_heard_of_beside_the_loss_of_its_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the sink stands there for ever, alive, ready to join and without partitions."""
    monkeypatch.setattr(capture_topics, "Consumer", DyingConsumer)
    topics = capture_topics.CaptureTopics(Settings(kafka_bootstrap="127.0.0.1:1"))
    topics.subscribe()
    with pytest.raises(KafkaException, match="fenced"):
        topics.read(10, 0.1)
