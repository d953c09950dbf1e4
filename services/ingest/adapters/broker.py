"""The Kafka producer of the doors: a request hears of its records only what the broker said of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.ingest.adapters.topics import check_topics
from services.ingest.config import Settings
from services.ingest.metrics import BROKER_REACHABLE, COMMIT_SECONDS, UNACKNOWLEDGED
from services.ingest.ports import Record
from trueup.contracts.errors import Broken, Transient
from trueup.contracts.topics import TopicNames
from trueup.runtime import log
from trueup.runtime.clock import Clock
from trueup.runtime.kafka import is_fatal, producer_options
from trueup.runtime.metrics import Registry
from trueup.runtime.web import Health

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 2.0
LINGER_MS = 5
# The client's own timer runs out first; this one only answers if its callback never came.
GRACE_SECONDS = 2.0


class _Parcel:
    """The records of one request, and what the broker said of each."""

    def __init__(self, records: int, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.failures: list[KafkaError | Exception] = []
        self._left = records
        self._lock = threading.Lock()
        self._loop = loop

    def delivered(self, fault: KafkaError | None, _: Message) -> None:
        """Hear of one record; called in the client's thread."""
        self.settle(1, fault)

    def settle(self, records: int, fault: KafkaError | Exception | None) -> None:
        """So many records have their answer."""
        with self._lock:
            self._left -= records
            if fault is not None:
                self.failures.append(fault)
            last = self._left == 0
        if last and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Broker:
    """Gives records to Kafka for the event loop, and looks every second whether the broker answers at all.

    While it does not, requests are refused at once instead of waiting for a time-out each.
    """

    def __init__(self, settings: Settings, clock: Clock, registry: Registry) -> None:
        self._settings = settings
        self._clock = clock
        self._registry = registry
        self._deadline_seconds = settings.ingest_delivery_seconds + GRACE_SECONDS
        self._producer = Producer(
            {
                **producer_options(settings),
                # Below the answer's own deadline: what is answered 503 is not delivered minutes later behind the client's back.
                "message.timeout.ms": int(settings.ingest_delivery_seconds * 1_000),
                # A client waits for every answer; a batch fills within this among many of them.
                "linger.ms": LINGER_MS,
                # Our own bound refuses first; the client's must never be met half-way through a request.
                "queue.buffering.max.messages": settings.ingest_records * 2,
                "queue.buffering.max.kbytes": 1024 * 1024,
            }
        )
        self._unacknowledged = 0
        self._reachable = False
        self._why = "the broker was not asked yet"
        self.failure: Exception | None = None
        self._stopping = threading.Event()
        self._threads = (
            threading.Thread(target=self._poll, name="broker-answers", daemon=True),
            threading.Thread(target=self._look, name="broker-look", daemon=True),
        )
        self._log = log.get("ingest.broker")

    def start(self) -> None:
        """Begin to look and to listen."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Give what is queued its time, then end."""
        self._producer.flush(self._deadline_seconds)
        self._stopping.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS * 2)

    def health(self) -> Health:
        """Whether the broker answered a moment ago."""
        return Health(self._reachable, self._why)

    @property
    def unacknowledged(self) -> int:
        """Records whose fate is open."""
        return self._unacknowledged

    async def deliver(self, topic: str, records: Sequence[Record]) -> None:
        """Return once every record is acknowledged by all replicas in sync; Transient when that is not known of one of them."""
        if not self._reachable:
            raise Transient(self._why)
        if self._unacknowledged + len(records) > self._settings.ingest_records:
            raise Transient(f"{self._unacknowledged} records wait for the broker")
        if not records:
            return
        started = time.monotonic()
        parcel = _Parcel(len(records), asyncio.get_running_loop())
        self._count(len(records))
        parcel.done.add_done_callback(lambda _: self._count(-len(records)))
        self._produce(topic, records, parcel)
        try:
            await asyncio.wait_for(asyncio.shield(parcel.done), self._deadline_seconds)
        except TimeoutError as late:
            raise Transient("the broker's answer did not come") from late
        self._registry.observe(COMMIT_SECONDS, time.monotonic() - started)
        if parcel.failures:
            raise Transient(f"{len(parcel.failures)} of {len(records)} records were not acknowledged: {parcel.failures[0]}")

    def _produce(self, topic: str, records: Sequence[Record], parcel: _Parcel) -> None:
        # Only under the simulated clock is a record's time ours to say.
        timestamp = self._clock.now_ms() if self._clock.simulated else 0
        for at, (key, value) in enumerate(records):
            try:
                self._producer.produce(topic, key=key, value=value, timestamp=timestamp, on_delivery=parcel.delivered)
            except (BufferError, KafkaException) as fault:
                parcel.settle(len(records) - at, fault)
                return

    def _count(self, records: int) -> None:
        self._unacknowledged += records
        self._registry.set(UNACKNOWLEDGED, self._unacknowledged)

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)

    def _look(self) -> None:
        checked = False
        while not self._stopping.is_set():
            try:
                if not checked:
                    check_topics(self._settings, self._clock.simulated)
                    checked = True
                self._producer.list_topics(TopicNames(self._settings.topic_prefix).usage_events, timeout=ANSWER_SECONDS)
                self._found(True, "the broker answers")
            except KafkaException as fault:
                error = fault.args[0]
                if isinstance(error, KafkaError) and is_fatal(error):
                    self.failure = fault
                self._found(False, f"the broker does not answer: {error}")
            except Broken as fault:
                self.failure = fault
                self._found(False, str(fault))
                return
            self._stopping.wait(LOOK_SECONDS)

    def _found(self, reachable: bool, why: str) -> None:
        if reachable != self._reachable:
            self._log.warning(why, reachable=reachable)
        self._reachable, self._why = reachable, why
        self._registry.set(BROKER_REACHABLE, int(reachable))
