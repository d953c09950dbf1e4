"""Topic settings: the values that something rests on, and that each one says why."""

import pytest

from trueup.contracts import topics
from trueup.contracts.topics import Topic, TopicNames, declared

DAY_MS = 86_400_000
DAYS = {
    "usage.events.v1": 40,
    "usage.on_time.v1": 14,
    "usage.late.v1": 14,
    "usage.rejected.v1": 40,
    "usage.progress.v1": 14,
    "usage.corrections.v1": 40,
    "stripe.webhooks.v1": 40,
}


def by_kind(simulated: bool, **options: object) -> dict[str, Topic]:
    """Declare and name."""
    return {topic.kind: topic for topic in declared(simulated, **options)}  # type: ignore[arg-type]


def test_every_topic_of_the_contract_is_declared() -> None:
    """The eight, and no more."""
    assert set(by_kind(False)) == {*DAYS, "trueup.catalogue.v1"}


def test_retention_is_the_contract_s() -> None:
    """Days on the system's clock, and the catalogue for ever."""
    kept = {kind: topic.settings["retention.ms"] for kind, topic in by_kind(False).items()}
    assert kept == {kind: str(days * DAY_MS) for kind, days in DAYS.items()} | {"trueup.catalogue.v1": "-1"}


def test_the_simulated_month_keeps_everything() -> None:
    """It lies in the past: retention would delete it while it is written."""
    assert {topic.settings["retention.ms"] for topic in declared(True)} == {"-1"}
    assert {topic.settings["message.timestamp.type"] for topic in declared(True)} == {"CreateTime"}


def test_arrival_is_the_broker_s_fact() -> None:
    """Where a decision reads the record's time, the broker sets it."""
    append_time = {kind for kind, topic in by_kind(False).items() if topic.settings["message.timestamp.type"] == "LogAppendTime"}
    assert append_time == {"usage.events.v1", "trueup.catalogue.v1"}


def test_nothing_is_compacted() -> None:
    """Compaction keeps one record a key, which is one event a customer."""
    assert {topic.settings["cleanup.policy"] for topic in declared(False)} == {"delete"}


def test_large_records_arrive_to_be_refused() -> None:
    """1 MiB and its headers on the way in, the same with more headers on the way to the rejected."""
    usage = int(by_kind(False)["usage.events.v1"].settings["max.message.bytes"])
    rejected = int(by_kind(False)["usage.rejected.v1"].settings["max.message.bytes"])
    assert 1024 * 1024 + 65_536 < usage < rejected
    assert int(by_kind(False)["usage.progress.v1"].settings["max.message.bytes"]) >= 8 * 1024 * 1024


@pytest.mark.parametrize("simulated", [True, False])
def test_every_setting_has_a_reason(simulated: bool) -> None:
    """A setting without one can't be changed by anyone later."""
    for topic in declared(simulated, min_insync_replicas=2):
        assert topic.settings.keys() == topic.reasons.keys()
        assert all(len(reason) > 20 for reason in topic.reasons.values())


def test_partitions_and_replication() -> None:
    """Both are the deployment's; the catalogue is one sequence whatever it says."""
    topic = by_kind(False, partitions=3, replication_factor=3, min_insync_replicas=2)
    assert {kind: each.partitions for kind, each in topic.items()} == dict.fromkeys(DAYS, 3) | {"trueup.catalogue.v1": 1}
    assert {each.replication_factor for each in topic.values()} == {3}
    assert {each.settings["min.insync.replicas"] for each in topic.values()} == {"2"}
    assert "min.insync.replicas" not in by_kind(False)["usage.events.v1"].settings


def test_names_carry_the_prefix() -> None:
    """Several deployments share a cluster."""
    names = TopicNames("t1.")
    assert (names.usage_events, names.on_time, names.late, names.rejected) == tuple(
        "t1." + kind for kind in (topics.USAGE_EVENTS, topics.ON_TIME, topics.LATE, topics.REJECTED)
    )
    assert (names.progress, names.corrections, names.webhooks, names.catalogue) == tuple(
        "t1." + kind for kind in (topics.PROGRESS, topics.CORRECTIONS, topics.WEBHOOKS, topics.CATALOGUE)
    )
    assert {topic.name for topic in declared(False, prefix="t1.")} == {"t1." + topic.kind for topic in declared(False)}
