"""The publisher: an event is checked, written and queued in the calling thread; a background thread of the Kafka client delivers it."""

import logging
import os
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from trueup.contracts.codec import MAX_RECORD_BYTES, Decoder, encode_event
from trueup.contracts.events import Refusal, RefusalReason, UsageEvent, check_fields
from trueup.contracts.quantities import from_decimal_text
from trueup.contracts.topics import TopicNames
from trueup.publisher.environment import PublisherSettings, PublisherSettingsError
from trueup.publisher.errors import Backlogged, DeliveryFailed, FailedDelivery, InvalidUsage, MisplacedPublisher
from trueup.publisher.scales import FIRST_READ_SECONDS, LearntScales, SaidScales, Scales

Options = dict[str, str | int | float | bool]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_FLUSH_SECONDS = 30.0


def producer_options(settings: PublisherSettings, source: str) -> Options:
    """Give the client's options, each with its reason; one that would bend a guarantee is refused."""
    fixed: Options = {
        "bootstrap.servers": settings.bootstrap,
        # Acknowledged means: every replica in sync has it, once, in the order it was sent.
        "acks": "all",
        "enable.idempotence": True,
        # The Java clients' choice, so that a customer's events share a partition whatever language sent them.
        "partitioner": "murmur2_random",
        # Only failures come back, and their bytes name the event: a success costs nothing.
        "delivery.report.only.error": True,
    }
    bent = sorted(key for key, value in settings.kafka.items() if key in fixed and str(fixed[key]).lower() != value.lower())
    if bent:
        raise PublisherSettingsError(f"TRUEUP_KAFKA__… may not change {', '.join(bent)}: correctness rests on it")
    ours: Options = {
        "client.id": f"trueup-publisher-{source}",
        # Usage compresses well; lz4 costs the least of what does.
        "compression.type": "lz4",
        # Waiting a little fills the batches; nobody waits for a usage event.
        "linger.ms": 20,
        # The default of 1 GiB would let a long outage of the broker eat the service's memory.
        "queue.buffering.max.kbytes": 65_536,
        "reconnect.backoff.max.ms": 1_000,
    }
    return {**ours, **settings.kafka, **fixed}


class Publisher:
    """Publishes the usage of one service.

    `publish` never waits for the network. A full queue raises `Backlogged`; an event that could not be delivered raises
    `DeliveryFailed` at the next call and at exit, with its id; `flush` returns when the broker has everything. Any thread may call.
    """

    def __init__(
        self,
        source: str,
        settings: PublisherSettings,
        *,
        scales: Mapping[str, int] | None = None,
        record_time_ms: Callable[[], int] | None = None,
    ) -> None:
        """Make a publisher; `record_time_ms` dates the records themselves, which only a street with a simulated clock needs."""
        self.source = source
        self.topic = TopicNames(settings.topic_prefix).usage_events
        self._settings = settings
        self._said: Mapping[str, int] | None = scales
        self._scales: Scales | None = None
        self._record_time_ms = record_time_ms
        self._process = os.getpid()
        self._closed = False
        self._failures: deque[FailedDelivery] = deque()
        try:
            self._producer = Producer({**producer_options(settings, source), "on_delivery": _collect_into(self._failures)})
        except KafkaException as refused:
            raise PublisherSettingsError(f"TRUEUP_KAFKA__… cannot be used: {refused.args[0].str()}") from refused
        # A publisher that nobody closed still delivers when the interpreter ends, and says so when it could not.
        self._last_words = weakref.finalize(self, _deliver_the_rest, self._producer, self._failures, self._process)

    @classmethod
    def from_environment(
        cls, source: str, *, scales: Mapping[str, int] | None = None, environment: Mapping[str, str] | None = None
    ) -> Self:
        """Make one from `TRUEUP_*`.

        It reads the catalogue first, for a few seconds at most, to know each meter's decimal places, and learns of new meters
        later by itself; or `scales` says all of them, and no catalogue is read.
        """
        made = cls(source, PublisherSettings.from_environment(os.environ if environment is None else environment), scales=scales)
        made._learn()
        return made

    def _learn(self) -> Scales:
        if self._scales is None and self._said is not None:
            self._scales = SaidScales(self._said)
        elif self._scales is None:
            self._scales = learnt = LearntScales(self._settings)
            learnt.wait(FIRST_READ_SECONDS)
        return self._scales

    def publish(
        self,
        *,
        id: str,
        customer: str,
        meter: str,
        value: int | str | Decimal,
        time: datetime | int,
        reason: str | None = None,
        corrects: str | None = None,
        dimensions: Mapping[str, str] | None = None,
    ) -> None:
        """Publish an event whose `value` is in the meter's unit: an integer, a decimal text or a Decimal, never a float.

        `id` comes from the action that caused the usage and is the same when it is sent again. `time` is when the usage happened:
        a datetime with its offset, or milliseconds since 1970. A value with more decimal places than the meter's scale is refused.
        """
        self._require_usable()
        # What is no text names no meter; the check of all fields says so.
        scale = (self._scales or self._learn()).of(meter) if isinstance(meter, str) else 0
        quantity = _smallest_units(value, scale)
        self.publish_quantity(
            id=id, customer=customer, meter=meter, quantity=quantity, time=time, reason=reason, corrects=corrects, dimensions=dimensions
        )

    def publish_quantity(
        self,
        *,
        id: str,
        customer: str,
        meter: str,
        quantity: int,
        time: datetime | int,
        reason: str | None = None,
        corrects: str | None = None,
        dimensions: Mapping[str, str] | None = None,
    ) -> None:
        """Publish an event whose `quantity` is already in the meter's smallest unit."""
        event = UsageEvent(id, self.source, _milliseconds(time), meter, customer, quantity, reason, corrects, dict(dimensions or {}))
        self._queue(customer, _written(event))

    def _queue(self, customer: str, record: bytes) -> None:
        self._require_usable()
        self._producer.poll(0)
        self._raise_failures()
        try:
            self._produce(customer, record)
        except BufferError:
            raise Backlogged("the queue for the broker is full; this event was not taken") from None
        except KafkaException as fault:
            raise DeliveryFailed([FailedDelivery(_id_in(record), str(fault))]) from fault

    def _produce(self, customer: str, record: bytes) -> None:
        # The client takes a timestamp of 0 as "now".
        record_time_ms = 0 if self._record_time_ms is None else self._record_time_ms()
        self._producer.produce(self.topic, value=record, key=customer.encode(), timestamp=record_time_ms)

    def flush(self, timeout_seconds: float | None = None) -> None:
        """Return when the broker has everything; Backlogged when it hasn't after the timeout, DeliveryFailed when it refused."""
        self._require_usable()
        left = self._producer.flush() if timeout_seconds is None else self._producer.flush(timeout_seconds)
        self._raise_failures()
        if left:
            # The client counts reports that were not fetched yet with them.
            raise Backlogged(f"up to {left} events still wait for the broker after {timeout_seconds} s")

    def close(self) -> None:
        """Flush, and take no more events."""
        if self._closed:
            return
        self.flush()
        self._closed = True
        self._last_words.detach()
        if self._scales is not None:
            self._scales.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _require_usable(self) -> None:
        if self._closed:
            raise MisplacedPublisher("this publisher is closed")
        if os.getpid() != self._process:
            raise MisplacedPublisher("this process is a fork of the one that made the publisher: make one in each worker")

    def _raise_failures(self) -> None:
        failures = _taken(self._failures)
        if failures:
            raise DeliveryFailed(failures)


def _smallest_units(value: int | str | Decimal, scale: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise InvalidUsage(_bad("quantity", f"value must be an integer, a decimal text or a Decimal, not {type(value).__name__}"))
    try:
        return from_decimal_text(format(value, "f") if isinstance(value, Decimal) else str(value), scale)
    except ValueError as fault:
        raise InvalidUsage(_bad("quantity", str(fault))) from None


def _milliseconds(time: datetime | int) -> int:
    if isinstance(time, datetime) and time.tzinfo is not None:
        return (time - _EPOCH) // timedelta(milliseconds=1)
    if isinstance(time, int) and not isinstance(time, bool):
        return time
    raise InvalidUsage(_bad("event_time", "time must be a datetime with its offset, or milliseconds since 1970 as an integer"))


def _written(event: UsageEvent) -> bytes:
    """Write an event as it will be read; InvalidUsage when it would be refused for what it says by itself."""
    texts = {"id": event.id, "source": event.source, "meter": event.meter, "customer": event.customer}
    optional = {"reason": event.reason, "corrects": event.corrects}
    texts |= {name: text for name, text in optional.items() if text is not None}
    named = [*texts.items(), *[("dimensions", part) for dimension in event.dimensions.items() for part in dimension]]
    for name, text in named:
        if not isinstance(text, str):
            raise InvalidUsage(_bad(name, f"{name} must be text, not {type(text).__name__}"))
    refusal = check_fields(event)
    if refusal is not None:
        raise InvalidUsage(refusal)
    try:
        record = encode_event(event)
    except UnicodeEncodeError as fault:
        raise InvalidUsage(_bad("text", f"a text can't be written as UTF-8: {fault}")) from None
    if len(record) > MAX_RECORD_BYTES:
        raise InvalidUsage(Refusal(RefusalReason.TOO_LARGE, None, f"{len(record)} bytes; {MAX_RECORD_BYTES} are allowed"))
    return record


def _bad(field: str, detail: str) -> Refusal:
    return Refusal(RefusalReason.BAD_FIELD, field, detail)


def _collect_into(failures: deque[FailedDelivery]) -> Callable[[KafkaError | None, Message], None]:
    def collect(fault: KafkaError | None, message: Message) -> None:
        if fault is not None:
            failures.append(FailedDelivery(_id_in(message.value()), fault.str()))

    return collect


def _id_in(record: bytes | None) -> str:
    """Name the event in a record that we wrote ourselves."""
    event = Decoder().decode(record)
    return event.id if isinstance(event, UsageEvent) else "?"


def _taken(failures: deque[FailedDelivery]) -> list[FailedDelivery]:
    """Empty the queue, one at a time: other threads may add to it or take from it meanwhile."""
    taken = []
    while True:
        try:
            taken.append(failures.popleft())
        except IndexError:
            return taken


def _deliver_the_rest(producer: Producer, failures: deque[FailedDelivery], process: int) -> None:
    if os.getpid() != process:
        return
    left = producer.flush(_LAST_FLUSH_SECONDS)
    lost = [failure.id for failure in _taken(failures)]
    if lost or left:
        logging.getLogger("trueup.publisher").error(
            "the publisher was never closed: %d events undelivered (%s), %d unacknowledged", len(lost), ", ".join(lost[:10]), left
        )
