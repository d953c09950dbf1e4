"""One Kafka transaction per batch: outputs, progress and offsets, through one transactional producer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import KafkaException, Producer, TopicPartition

from services.dedupe.adapters.answers import failure_of
from services.dedupe.config import Settings
from services.dedupe.core.records import Output, Route
from services.dedupe.ports import Membership, Refused
from trueup.contracts.codec import encode_progress
from trueup.contracts.progress import ProgressRecord
from trueup.contracts.topics import LARGEST_PROGRESS_RECORD_BYTES, TopicNames
from trueup.runtime.kafka import transactional_producer_options

CALL_SECONDS = 10.0
GIVE_UP_SECONDS = 30.0
"""After this long without a definite answer the process ends: the next one asks the coordinator what became of it."""


class KafkaTransaction:
    """Fenced by its transactional id, which is the worker's name: a second process of that name ends the first."""

    def __init__(self, settings: Settings, names: TopicNames) -> None:
        """Make the client and take the transactional id over from whoever had it, whose open transaction is aborted."""
        self._source_topic = names.usage_events
        self._progress_topic = names.progress
        self._topics = {Route.ON_TIME: names.on_time, Route.LATE: names.late, Route.REJECTED: names.rejected}
        options = transactional_producer_options(settings, f"dedupe-{settings.room}")
        self._producer = Producer(
            {
                **options,
                "transaction.timeout.ms": settings.transaction_timeout_ms,
                # A refused record may be larger than the default limit of 1 MB, and so may what a batch announces.
                "message.max.bytes": LARGEST_PROGRESS_RECORD_BYTES,
                # Whole batches are at hand at once: waiting longer fills no request, it only delays the commit.
                "linger.ms": 5,
                "delivery.report.only.error": True,
            }
        )
        self._until_answered(lambda: self._producer.init_transactions(CALL_SECONDS))

    def begin(self) -> None:
        """Opens a transaction."""
        self._producer.begin_transaction()

    def write(self, partition: int, outputs: Iterable[Output], progress: ProgressRecord) -> None:
        """Queues what was decided; a record that cannot be delivered fails the commit."""
        topics = self._topics
        for route, key, value, headers in outputs:
            self._produce(topics[route], partition, key, value, list(headers))
        self._produce(self._progress_topic, partition, None, encode_progress(progress), [])

    def _produce(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
        while True:
            try:
                # The type stubs leave out that a header's value may be None.
                self._producer.produce(topic, value, key, partition, headers=headers)  # type: ignore[arg-type]
                return
            except BufferError:
                self._producer.poll(0.05)

    def send_offsets(self, offsets: Mapping[int, int], membership: Membership) -> None:
        """Binds the source offsets to the transaction; the coordinator refuses a member of an older generation."""
        positions = [TopicPartition(self._source_topic, partition, offset) for partition, offset in offsets.items()]
        self._until_answered(lambda: self._producer.send_offsets_to_transaction(positions, membership, CALL_SECONDS))

    def commit(self) -> None:
        """Flushes and commits."""
        self._until_answered(lambda: self._producer.commit_transaction(CALL_SECONDS))

    def abort(self) -> None:
        """Takes the transaction back and drops what is still queued."""
        self._until_answered(lambda: self._producer.abort_transaction(CALL_SECONDS))

    def _until_answered(self, call: Callable[[], None]) -> None:
        """Repeats a call whose outcome is not known yet, as the client asks for; anything but yes or a definite no ends the process."""
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                call()
                return
            except KafkaException as failure:
                error = failure_of(failure)
                if error.txn_requires_abort():
                    raise Refused(f"{error.name()}: {error.str()}") from failure
                if error.fatal() or not error.retriable() or time.monotonic() > give_up_at:
                    raise
