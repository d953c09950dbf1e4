"""A street under load that is about to be hurt: who feeds it, what is unread and open at an instant, and what came of it all.

The oracle here is a dict that the feeder fills as it publishes; it shares no code with the rooms.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import psycopg
import requests
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # public, but not in __all__
from fastavro import schemaless_reader

from devstack.street import Street
from devstack.stripe_setup import StreetCustomer
from trueup.contracts.codec import encode_event, schema
from trueup.contracts.events import UsageEvent

PARTITIONS = 4
CUSTOMERS = 40
# Usage whose minute was due to be sent when it arrives: there are calls to hit from the beginning, and soon again after each.
EVENT_AGE_MS = 121_000
METERS = ("input_tokens", "output_tokens")
CATALOGUE = """
[meter.input_tokens]
unit = "token"
billing_window = "PT45M"
roll_up = "PT1M"
stripe_event_name = "input_tokens"

[meter.output_tokens]
unit = "token"
billing_window = "PT45M"
roll_up = "PT1M"
stripe_event_name = "output_tokens"

[plan.basic]
stripe_prices = ["price_input_tokens", "price_output_tokens"]

[policy]
finalization_grace = "PT24H"
summary_settle = "PT5S"
"""


def customers() -> tuple[StreetCustomer, ...]:
    """Forty customers, so that every minute ends with some eighty calls to Stripe."""
    return tuple(StreetCustomer(f"customer-{number}", f"cus_{number}", "basic") for number in range(CUSTOMERS))


def make_street(data: Path) -> Street:
    """A street of its own, servers included, on the system's clock."""
    data.mkdir(parents=True, exist_ok=True)
    catalogue = data / "catalogue.toml"
    catalogue.write_text(CATALOGUE)
    return Street(data, clock="system", catalogue=catalogue, customers=customers(), partitions=PARTITIONS, say=print)


@dataclass
class Oracle:
    """What was published: every event once, however often it was delivered."""

    events: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    deliveries: int = 0

    def totals(self) -> Counter[tuple[str, str]]:
        """Units per customer and meter."""
        summed: Counter[tuple[str, str]] = Counter()
        for customer, meter, quantity in self.events.values():
            summed[customer, meter] += quantity
        return summed


class Feeder:
    """Publishes on a thread until told to stop: one event in twenty a second time, up to some thousand events later."""

    def __init__(self, street: Street, per_second: int, seed: int = 7, *, prefix: str = "request-") -> None:
        self._topic = street.topics.usage_events
        options = {
            "bootstrap.servers": street.settings.kafka_bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "message.timeout.ms": 240_000,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
        self._producer = Producer(options)
        self._per_second = per_second
        self._random = random.Random(seed)
        self._prefix = prefix
        self._again: list[tuple[bytes, bytes]] = []
        self._stop = threading.Event()
        self._failed: list[str] = []
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self.oracle = Oracle()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.finish()

    def finish(self) -> None:
        """Stops, and does not return before the broker has everything."""
        self._stop.set()
        self._thread.join()
        for key, value in self._again:
            self._deliver(key, value)
        self._again.clear()
        left = self._producer.flush(240)
        assert left == 0 and not self._failed, (left, self._failed[:3])

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.05):
            for _ in range(self._per_second // 20):
                number += 1
                self._publish(number)
            self._producer.poll(0)

    def _publish(self, number: int) -> None:
        customer = f"customer-{self._random.randrange(CUSTOMERS)}"
        meter = self._random.choice(METERS)
        quantity = self._random.randrange(1, 5_000)
        event = UsageEvent(
            id=f"{self._prefix}{number}",
            source="feeder",
            event_time_ms=int(time.time() * 1000) - EVENT_AGE_MS,  # the street under test lives by this very clock
            meter=meter,
            customer=customer,
            quantity=quantity,
            reason=None,
            corrects=None,
            dimensions={"model": "m1"},
        )
        self.oracle.events[event.id] = (customer, meter, quantity)
        value = encode_event(event)
        self._deliver(customer.encode(), value)
        if self._random.random() < 0.05:
            self._again.append((customer.encode(), value))
        if self._again and self._random.random() < 0.05:
            self._deliver(*self._again.pop(self._random.randrange(len(self._again))))

    def _deliver(self, key: bytes, value: bytes) -> None:
        self.oracle.deliveries += 1
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, fault: object, _: object) -> None:
        if fault is not None:
            self._failed.append(str(fault))


@dataclass(frozen=True, slots=True)
class Pressure:
    """What was going on at an instant."""

    unread_records: int  # on the source topic, behind the dedupe room's committed offsets
    open_transactions: int  # output partitions whose last stable offset lies before their end
    open_captures: int  # Postgres transactions that hold the barrier
    calls_in_flight: int  # open intents whose newest attempt has no answer

    @property
    def real(self) -> bool:
        """Whether a kill now hits somebody in the middle of something."""
        return self.unread_records > 0 and self.open_transactions + self.open_captures + self.calls_in_flight > 0


class Watch:
    """Looks at a street from outside, with clients of its own."""

    def __init__(self, street: Street) -> None:
        self._street = street
        self._bootstrap = street.settings.kafka_bootstrap
        self._dsn = street.owner_settings.postgres_dsn
        self._group = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "trueup.dedupe",
                "enable.auto.commit": False,
                # Else the coordinator lets us wait for the transaction of the very room that was stopped to be looked at.
                "isolation.level": "read_uncommitted",
            }
        )

    def pressure(self) -> Pressure:
        """Now."""
        topics = self._street.topics
        source = self._ends([topics.usage_events])
        committed = self._group.committed([TopicPartition(name, number) for name, number in source], timeout=10)
        read = {(one.topic, one.partition): max(one.offset, 0) for one in committed}
        outputs = [topics.on_time, topics.progress]
        ends, stable = self._ends(outputs), self._ends(outputs, stable=True)
        with psycopg.connect(self._dsn, autocommit=True) as ledger:
            captures = _number(ledger, "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ShareLock' and granted")
            # The newest call of each intent that is still open: one of a sink that was killed stays without an answer for ever.
            calls = _number(
                ledger,
                """select count(*) from ops.open_intent i
                cross join lateral (
                    select a.attempt_id from ledger.attempt a where a.intent_id = i.intent_id order by a.attempt_id desc limit 1
                ) a
                where not exists (select from ledger.outcome o where o.attempt_id = a.attempt_id)""",
            )
        return Pressure(
            unread_records=sum(end - read[place] for place, end in source.items()),
            open_transactions=sum(1 for place, end in ends.items() if stable[place] < end),
            open_captures=captures,
            calls_in_flight=calls,
        )

    def _ends(self, topics: list[str], *, stable: bool = False) -> dict[tuple[str, int], int]:
        newest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library forgot to annotate it
        asked = {TopicPartition(topic, number): newest for topic in topics for number in range(PARTITIONS)}
        level = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
        # A new client each time: one that lived through a broker's restart goes on asking with the leader epoch from before.
        client = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        found = client.list_offsets(asked, isolation_level=level, request_timeout=10)
        return {(place.topic, place.partition): future.result(15).offset for place, future in found.items()}

    def books(self) -> Counter[tuple[str, str]]:
        """What the emulator received, in units per customer and meter."""
        answer = requests.get(f"{self._street.settings.stripe_url}/_emulator/books", timeout=30).json()
        summed: Counter[tuple[str, str]] = Counter()
        for event_name, by_customer in answer["meters"].items():
            for stripe_customer, held in by_customer.items():
                summed[stripe_customer.replace("cus_", "customer-"), event_name] += int(held["value"])
        return +summed

    def on_time_ids(self) -> Counter[str]:
        """Every event id on usage.on_time.v1 as a read_committed reader sees it, with how often it stands there."""
        reader = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "oracle",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        topic = self._street.topics.on_time
        reader.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        seen: Counter[str] = Counter()
        at_end: set[int] = set()
        while len(at_end) < PARTITIONS:
            for message in reader.consume(10_000, 5.0):
                if message.error() is not None:
                    at_end.add(message.partition() or 0)
                    continue
                datum: Any = schemaless_reader(BytesIO((message.value() or b"")[10:]), schema("usage_event").parsed, None)
                seen[datum["id"]] += 1
        reader.close()
        return seen


def slow_answers(street: Street, seconds: float) -> None:
    """Says how long Stripe takes to answer: a call that is over in a millisecond is hard to hit."""
    answer = requests.post(f"{street.settings.stripe_url}/_emulator/settings", json={"latency_seconds": seconds}, timeout=30)
    answer.raise_for_status()


def hurt(street: Street, watch: Watch, name: str, *, calling: bool = False, seconds: float = 100.0) -> Pressure:
    """Kills a part at an instant when input is unread and something is open, with `calling` a call to Stripe; else fails.

    A room is stopped first, so that what was seen is still true when the signal comes.
    """
    freeze = name not in {"kafka", "postgres", "stripe-emulator"}
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if freeze:
                street.kill(name, signal.SIGSTOP)
            last = watch.pressure()
        except ProcessLookupError as fault:  # it died of the kill before, as a client of a broker may, and is being started again
            last = fault
            time.sleep(0.5)
            continue
        except (
            KafkaException,
            psycopg.OperationalError,
            TimeoutError,
        ) as fault:  # a server is still coming back
            last = fault
        if isinstance(last, Pressure) and last.real and (last.calls_in_flight > 0 or not calling):
            street.kill(name, signal.SIGKILL)
            return last
        if freeze:
            street.kill(name, signal.SIGCONT)
        time.sleep(0.05)
    raise AssertionError(f"{name}: no instant with input unread and something open within {seconds:.0f} s; last seen: {last}")


def until(what: str, met: Callable[[], bool], seconds: float) -> None:
    """Waits for a condition; a server that is being started again counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if met():
                return
        except (KafkaException, psycopg.OperationalError, requests.ConnectionError):
            time.sleep(0.2)
        time.sleep(0.2)
    raise AssertionError(f"within {seconds:.0f} s this did not come true: {what}")


def _number(ledger: psycopg.Connection, query: str) -> int:
    row = ledger.execute(query).fetchone()
    assert row is not None
    return int(row[0])
