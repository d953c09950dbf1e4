"""`trueup topics` against a real cluster: it says what differs, creates, grows, and leaves to a person what it must not touch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from devstack.kafka import Kafka
from devstack.process import wait_until
from trueup.cli.__main__ import run
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import admin
from trueup.runtime.settings import StreetSettings

PREFIX = "topics-command."


@pytest.fixture
def settings(kafka_server: Kafka, monkeypatch: pytest.MonkeyPatch) -> StreetSettings:
    """A cluster on which nothing of this prefix exists."""
    monkeypatch.setenv("TRUEUP_KAFKA_BOOTSTRAP", kafka_server.bootstrap)
    monkeypatch.setenv("TRUEUP_TOPIC_PREFIX", PREFIX)
    monkeypatch.setenv("TRUEUP_PARTITIONS", "2")
    return StreetSettings(kafka_bootstrap=kafka_server.bootstrap, topic_prefix=PREFIX, partitions=2, room="test")


def test_from_nothing_to_as_declared_and_back_to_a_drift(
    settings: StreetSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = TopicNames(PREFIX)

    def answer(verb: str) -> tuple[int, list[tuple[Any, ...]]]:
        capsys.readouterr()
        code = run(["topics", verb, "--json"])
        rows = json.loads(capsys.readouterr().out)
        return code, sorted({(row["topic"], row["change"], row["setting"]) for row in rows})

    def comes_to(expected: tuple[int, list[tuple[Any, ...]]]) -> bool:
        """A broker says yes to a change a moment before it shows it."""
        return wait_until(lambda: answer("plan") == expected, 20, 0.2)

    code, missing = answer("plan")
    assert code == 1
    assert (names.usage_events, "create", "partitions") in missing
    assert {change for _topic, change, _setting in missing} == {"create"}
    assert answer("apply") == (0, missing)
    assert comes_to((0, []))

    resource = ConfigResource(
        ResourceType.TOPIC,
        names.usage_events,
        incremental_configs=[ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)],
    )
    client = admin(settings)
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
    drift = [(names.usage_events, "drift", "retention.ms")]
    assert comes_to((1, drift))
    assert answer("apply") == (1, drift), "what would delete usage is not ours to change back in silence"

    monkeypatch.setenv("TRUEUP_PARTITIONS", "3")
    code, rows = answer("apply")
    assert code == 1
    assert (names.usage_events, "grow", "partitions") in rows
    assert comes_to((1, drift)), "grown, and the drift is left"
