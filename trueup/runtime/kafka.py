"""Kafka client options in one place, each with its reason."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain, repeat
from typing import Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # public, but not in __all__
from confluent_kafka.cimpl import NewTopic

from trueup.contracts.topics import LARGEST_PROGRESS_RECORD_BYTES, Topic
from trueup.runtime.settings import SettingsError, StreetSettings

Setting = str | int | float | bool | logging.Logger
Options = dict[str, Setting]

SESSION_TIMEOUT_MS = 6_000
TRANSACTION_TIMEOUT_MS = 15_000
# What a user may set otherwise: librdkafka's informational lines would bury ours.
_TASTE: Mapping[str, int] = {"log_level": 5}
REQUEST_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.02
# Said of what there is not, and for a while of what there is. Who asks for a topic that nobody made waits this long for the answer.
_HEARSAY = frozenset({KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC})
_HEARSAY_SECONDS = 5.0
# A topic that was made just now is known a moment later; a new client may take longer to connect than the first waits are.
_ANEW_SECONDS = (0.1, 0.2, 0.4, 0.8)
# A leader is being elected or a broker started again. The client library calls none of these retriable.
_PASSING = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
    }
)


def _with_passthrough(settings: StreetSettings, fixed: Mapping[str, Setting]) -> Options:
    """The user's own librdkafka settings beneath ours; one that would bend a guarantee is refused, not overridden in silence."""
    bent = sorted(key for key, value in settings.kafka.items() if key in fixed and str(fixed[key]).lower() != value.lower())
    if bent:
        raise SettingsError(f"TRUEUP_KAFKA__… may not change {', '.join(bent)}: correctness rests on it")
    _understood(frozenset(settings.kafka.items()))
    settings.require("kafka_bootstrap")
    return {**_TASTE, **settings.kafka, **fixed}


@cache
def _understood(own: frozenset[tuple[str, str]]) -> None:
    """Lets the library read the user's settings before any client of ours is made of them: only it knows what there is."""
    if not own:
        return
    try:
        AdminClient({"log_level": 0, **dict(own)})
    except KafkaException as refused:
        raise SettingsError(f"TRUEUP_KAFKA__… cannot be used: {refused.args[0].str()}") from refused


def client_options(settings: StreetSettings) -> Options:
    """What every client needs, whatever it does."""
    return _with_passthrough(settings, _client(settings))


def _client(settings: StreetSettings) -> Options:
    return {
        "bootstrap.servers": settings.kafka_bootstrap,
        # Shows up in broker logs, quotas and metrics.
        "client.id": f"trueup-{settings.room or 'cli'}",
        # The default of 10 s would add itself to every restart of the broker.
        "reconnect.backoff.max.ms": 1_000,
        "allow.auto.create.topics": False,
        # The library's own lines, which it would else write raw to stderr. They are handed over when the client is polled.
        "logger": logging.getLogger("librdkafka"),
    }


def consumer_options(
    settings: StreetSettings,
    group: str,
    *,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    partition_eof: bool = False,
) -> Options:
    """A member of a group that decides itself when its offsets are committed."""
    member: Options = {
        **_client(settings),
        "group.id": f"{settings.topic_prefix}{group}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # A position that is gone is a hole in the books. `latest` would jump over it, `earliest` hide it.
        "auto.offset.reset": "error",
        # What a dead transaction left must not be counted.
        "isolation.level": isolation,
        # Others take over a stopped or dead member's partitions after this; 45 s by default.
        "session.timeout.ms": SESSION_TIMEOUT_MS,
        "heartbeat.interval.ms": SESSION_TIMEOUT_MS // 4,
        # Partition n of every topic comes to one member; and eager: a cooperative generation that a static member does not
        # live to complete leaves its partitions to nobody for ever.
        "partition.assignment.strategy": "range",
        "enable.partition.eof": partition_eof,
    }
    if settings.room:
        # A static member that was killed and started again takes its partitions back at once.
        member["group.instance.id"] = f"{settings.topic_prefix}{settings.room}"
    return _with_passthrough(settings, member)


def producer_options(settings: StreetSettings) -> Options:
    """An idempotent producer that places records as the Java clients do."""
    return _with_passthrough(settings, _producer(settings))


def _producer(settings: StreetSettings) -> Options:
    return {
        **{key: value for key, value in _client(settings).items() if key != "allow.auto.create.topics"},
        "acks": "all",
        "enable.idempotence": True,
        # librdkafka's own default is CRC32, which would put a customer elsewhere than every Java client does.
        "partitioner": "murmur2_random",
        # Measured: linger 5 to 100 ms and none or lz4 make no clear difference in cost; lz4 saves disk and network.
        "linger.ms": 20,
        "compression.type": "lz4",
    }


def transactional_producer_options(settings: StreetSettings, transactional_id: str) -> Options:
    """A producer whose outputs, progress and offsets appear together or not at all."""
    return _with_passthrough(
        settings,
        {
            **_producer(settings),
            # A progress record after a long standstill weighs several MiB; the broker's own limit per topic stays.
            "message.max.bytes": LARGEST_PROGRESS_RECORD_BYTES,
            "transactional.id": f"{settings.topic_prefix}{transactional_id}",
            # An open transaction holds up every reader; after this the broker aborts a dead owner's.
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        },
    )


def admin(settings: StreetSettings) -> AdminClient:
    """A client for topics and cluster facts."""
    options = {key: value for key, value in client_options(settings).items() if key != "allow.auto.create.topics"}
    return AdminClient(options)  # type: ignore[arg-type]  # the library forgot that it takes a logger


def is_fatal(error: KafkaError) -> bool:
    """Whether the client that said this is dead, so that its process must begin anew.

    A consumer hears it as a message whose error has the code _FATAL without being marked as fatal.
    """
    return error.fatal() or error.code() == KafkaError._FATAL


def create_missing_topics(settings: StreetSettings, topics: Iterable[Topic]) -> tuple[str, ...]:
    """Creates the declared topics that do not exist yet; never changes or deletes one. Returns the names it created."""
    client = admin(settings)
    present = set(client.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics)
    missing = [
        NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=topic.replication_factor, config=dict(topic.settings))
        for topic in topics
        if topic.name not in present
    ]
    if missing:
        for future in client.create_topics(missing, request_timeout=REQUEST_TIMEOUT_SECONDS).values():
            future.result()
        _wait_until_served(settings, missing)
    return tuple(topic.topic for topic in missing)


def _wait_until_served(settings: StreetSettings, topics: list[NewTopic]) -> None:
    """Metadata name a leader a moment before that leader will answer; nobody should meet that moment.

    Each round asks with a new client: one that once heard of a topic without leaders keeps saying so for ever.
    """
    waiting = [TopicPartition(topic.topic, partition) for topic in topics for partition in range(topic.num_partitions)]
    deadline = time.monotonic() + 3 * REQUEST_TIMEOUT_SECONDS
    while waiting:
        client = admin(settings)
        newest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library forgot to annotate it
        answers = client.list_offsets(dict.fromkeys(waiting, newest), request_timeout=REQUEST_TIMEOUT_SECONDS)
        waiting = [partition for partition, answer in answers.items() if answer.exception() is not None]
        if waiting and time.monotonic() > deadline:
            raise KafkaException(f"{len(waiting)} new partitions have no leader, such as {waiting[0]}")
        if waiting:
            time.sleep(_POLL_SECONDS)


class OffsetsReader:
    """Asks brokers where partitions begin and end, now.

    It fetches nothing itself, so an answer takes half a millisecond; on a consumer that tails a topic it takes up to 500.
    """

    def __init__(self, settings: StreetSettings) -> None:
        options: Options = {
            **client_options(settings),
            "group.id": f"{settings.topic_prefix}trueup.offsets-reader",  # never joined: the client insists on a name
            "enable.auto.commit": False,
            # The true end, open transactions included: idle means that nothing at all is left.
            "isolation.level": "read_uncommitted",
        }
        self._options = options
        self._consumer = Consumer(options)
        self._born = time.monotonic()

    def low_and_high(self, topic: str, partition: int, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS) -> tuple[int, int]:
        """First offset kept and the offset the next record will get.

        A partition whose leader is being found answers within the time-out or raises `KafkaException`.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            return self._ask(topic, partition, timeout_seconds, deadline)
        except KafkaException:
            # A client that lost all its brokers may go on saying so long after they are back. Whoever asks again asks with a new one, which
            # has had time to find them; those who wait for half a second only would else never give any client that time.
            if time.monotonic() - self._born >= REQUEST_TIMEOUT_SECONDS:
                self._ask_with_another()
            raise
        finally:
            self._hand_over_log()

    def _ask(self, topic: str, partition: int, timeout_seconds: float, deadline: float) -> tuple[int, int]:
        heard_until = min(deadline, time.monotonic() + _HEARSAY_SECONDS)
        waits = chain(_ANEW_SECONDS, repeat(_ANEW_SECONDS[-1]))
        while True:
            try:
                left_seconds = max(_POLL_SECONDS, deadline - time.monotonic())
                answer = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=left_seconds)
            except KafkaException as error:
                code = error.args[0].code()
                if code in _HEARSAY and time.monotonic() < heard_until:
                    # A broker that stood still leads nothing for a moment, and one that made a topic just now may not know it yet. A
                    # client that heard so then, and follows no topic, goes on saying it long after: a new one asks for itself.
                    time.sleep(min(next(waits), max(0.0, deadline - time.monotonic())))
                    self._ask_with_another()
                    continue
                if time.monotonic() > deadline or code not in _PASSING:
                    raise
                time.sleep(_POLL_SECONDS)
                continue
            if answer is None:
                raise KafkaException(f"{topic}/{partition}: no answer about its offsets within {timeout_seconds} s")
            low, high = answer
            return low, high

    def _ask_with_another(self) -> None:
        self._hand_over_log()
        self._consumer = Consumer(self._options)
        self._born = time.monotonic()

    def _hand_over_log(self) -> None:
        """This client has nothing to receive; it is polled only for what the library has to say."""
        self._consumer.poll(0)

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close()
