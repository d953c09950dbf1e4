"""`python -m trueup.publisher --selftest`: can this service publish from here? Sends nothing."""

import argparse
import os
import sys

from confluent_kafka import KafkaException, libversion
from confluent_kafka.admin import AdminClient

from trueup.contracts.topics import TopicNames
from trueup.publisher.environment import PublisherSettings
from trueup.publisher.publisher import producer_options
from trueup.publisher.scales import LearntScales

_TIMEOUT_SECONDS = 10.0


def main() -> int:
    """Run the self-test: 0 when publishing can work, 1 when it can't, 2 when the configuration doesn't say how."""
    parser = argparse.ArgumentParser(prog="python -m trueup.publisher", description=__doc__)
    parser.add_argument("--selftest", action="store_true", required=True, help="check settings, brokers, topic and catalogue")
    parser.parse_args()
    try:
        settings = PublisherSettings.from_environment(os.environ)
        options = producer_options(settings, "selftest")
    except (ValueError, OSError) as fault:
        _say(f"configuration  FAILED  {fault}")
        return 2
    _say(f"configuration  ok      {settings.bootstrap}, {len(settings.kafka)} settings passed through, librdkafka {libversion()[0]}")
    return _check_cluster(settings, {key: value for key, value in options.items() if key in settings.kafka or key == "bootstrap.servers"})


def _check_cluster(settings: PublisherSettings, options: dict[str, str | int | float | bool]) -> int:
    name = TopicNames(settings.topic_prefix).usage_events
    # The brokers' own errors arrive as an exception below; librdkafka's log lines would only say them again.
    silent = {"log_level": 0, "socket.connection.setup.timeout.ms": 5_000}
    try:
        cluster = AdminClient({**silent, **options}).list_topics(timeout=_TIMEOUT_SECONDS)
    except (KafkaException, ValueError) as fault:
        _say(f"brokers        FAILED  {fault}")
        return 1
    _say(f"brokers        ok      {len(cluster.brokers)} answer")
    topic = cluster.topics.get(name)
    if topic is None or topic.error is not None:
        _say(f"topic          FAILED  {name} does not exist; `trueup topics apply` creates it")
        return 1
    leaderless = [number for number, partition in topic.partitions.items() if partition.leader < 0]
    if leaderless:
        _say(f"topic          FAILED  {name} has no leader for partitions {leaderless}")
        return 1
    _say(f"topic          ok      {name}, {len(topic.partitions)} partitions, each with a leader")
    return _check_catalogue(settings)


def _check_catalogue(settings: PublisherSettings) -> int:
    scales = LearntScales(settings)
    try:
        scales.wait(_TIMEOUT_SECONDS)
    finally:
        scales.close()
    name = TopicNames(settings.topic_prefix).catalogue
    if not scales.meters:
        mend = "`trueup catalogue apply`, or the right to read it; until then only a publisher with scales= takes anything"
        _say(f"catalogue      FAILED  {name} shows no meter: {mend}")
        return 1
    _say(f"catalogue      ok      {scales.meters} meters")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
