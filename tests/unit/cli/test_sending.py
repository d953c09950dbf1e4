"""`trueup events send` while nobody takes what is sent."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from devstack.places import free_port
from trueup.cli import events
from trueup.cli.lines import Accepted
from trueup.cli.target import Target
from trueup.contracts.events import UsageEvent
from trueup.publisher import DeliveryFailed
from trueup.runtime.settings import StreetSettings


def test_who_waits_for_a_broker_is_told_so_and_at_last_what_was_not_delivered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was silent for minutes, so that a person ended it without knowing what had gone out."""
    monkeypatch.setattr(events, "TOLD_EVERY_SECONDS", 0.3)
    settings = StreetSettings(kafka_bootstrap=f"127.0.0.1:{free_port()}", kafka={"message.timeout.ms": "1500"})
    usage = UsageEvent("e1", "inference", 1_790_000_000_000, "tokens", "acme", 7, None, None, {})
    with pytest.raises(DeliveryFailed, match="e1"), ExitStack() as stack:
        publishers = events.Publishers(Target(settings), stack)
        assert publishers.take(Accepted(1, usage)) is None
        publishers.flush()
    assert "waiting for Kafka: up to 1 events still wait for the broker" in capsys.readouterr().err
