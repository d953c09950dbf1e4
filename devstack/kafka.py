"""A real Apache Kafka on this machine: one KRaft node on loopback ports, its data in a folder, kill -9 survived."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from devstack.java import Say, java_binary, kafka_jars
from devstack.places import LOOPBACK, kept_port, listens
from devstack.process import Command, Part
from trueup.runtime.web import Health

_CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
_HEAP = "512m"
_LOG_LEVEL = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
_ANSWER_SECONDS = 2.0

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={log_dirs}
# A misspelt topic must fail, not appear.
auto.create.topics.enable=false
# After kill -9 the old registration must expire before the broker is let in again: 9 s by default.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# Rooms use sessions of 6 s; tests go lower.
group.min.session.timeout.ms=1000
group.initial.rebalance.delay.ms=0
# One node holds everything once.
default.replication.factor=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# A dead owner's transaction ends when its time is up, not up to 10 s later: readers wait for it.
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
# Many small topics of short-lived tests: preallocated indexes of 10 MB each would be most of the disk.
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
"""


class Kafka:
    """The broker as a part of the street."""

    def __init__(self, data: Path, say: Say) -> None:
        self._data = data
        self._say = say
        self._port = kept_port(data, "kafka")
        self._controller_port = kept_port(data, "kafka-controller")

    @property
    def bootstrap(self) -> str:
        """What clients connect to."""
        return f"{LOOPBACK}:{self._port}"

    def part(self) -> Part:
        """How the supervisor runs it."""
        return Part(name="kafka", address=self.bootstrap, prepare=self.prepare, ready=self.ready)

    def prepare(self) -> Command:
        """Jars, configuration, a formatted folder: whatever is missing."""
        jars = kafka_jars(self._say)
        folder = self._data / "kafka"
        folder.mkdir(parents=True, exist_ok=True)
        properties = folder / "server.properties"
        properties.write_text(
            _PROPERTIES.format(host=LOOPBACK, port=self._port, controller_port=self._controller_port, log_dirs=folder / "log")
        )
        if not (folder / "log" / "meta.properties").exists():
            self._format(jars, properties)
        return self._java(jars, f"-Xmx{_HEAP}", _LOG_LEVEL, "kafka.Kafka", str(properties))

    def _format(self, jars: Path, properties: Path) -> None:
        format_ = self._java(jars, _LOG_LEVEL, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(properties))
        done = subprocess.run(
            format_.arguments, env={**os.environ, **format_.environment}, cwd=format_.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"Kafka could not format {properties.parent}: {done.stdout}{done.stderr}")

    def _java(self, jars: Path, *arguments: str) -> Command:
        # Quick to start rather than quick at its peak: with the first compiler alone a start costs 2.9 s of CPU instead of 5.7 s.
        quick = ("-XX:+UseSerialGC", "-Xshare:auto", "-XX:TieredStopAtLevel=1")
        return Command((str(java_binary()), *quick, "-cp", f"{jars}/*", *arguments), folder=self._data / "kafka")

    def ready(self) -> Health:
        """Ready once an admin client hears of a broker: log lines come earlier and promise nothing."""
        if not listens(self._port):
            return Health(False, "does not listen yet")
        try:
            metadata = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0}).list_topics(timeout=_ANSWER_SECONDS)
        except KafkaException as error:
            return Health(False, str(error.args[0].str()))
        leaderless = sum(partition.leader < 0 for topic in metadata.topics.values() for partition in topic.partitions.values())
        if not metadata.brokers or leaderless:
            return Health(False, f"{len(metadata.brokers)} brokers, {leaderless} partitions without a leader")
        return Health(True, f"{len(metadata.topics)} topics")
