"""A street under load that is about to be hurt, and who feeds it.

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
from pathlib import Path
from typing import Self

import psycopg
import requests
from confluent_kafka import KafkaException, Producer

from devstack.street import Street
from devstack.stripe_setup import StreetCustomer
from tests.makers.street_watch import PARTITIONS, Caught, Pressure, Watch
from trueup.contracts.codec import encode_event
from trueup.contracts.events import UsageEvent

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

    def __init__(
        self, street: Street, per_second: int, seed: int = 7, *, prefix: str = "request-", customer_numbers: range = range(CUSTOMERS)
    ) -> None:
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
        self._customer_numbers = customer_numbers
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
        customer = f"customer-{self._random.choice(self._customer_numbers)}"
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


def slow_answers(street: Street, seconds: float) -> None:
    """Says how long Stripe takes to answer: a call that is over in a millisecond is hard to hit."""
    answer = requests.post(f"{street.settings.stripe_url}/_emulator/settings", json={"latency_seconds": seconds}, timeout=30)
    answer.raise_for_status()


def hurt(street: Street, watch: Watch, name: str, caught: Caught, seconds: float = 100.0) -> Pressure:
    """Kills a part at an instant when it is caught in the middle of something; fails when there is none.

    What can be looked at from elsewhere is stopped first, so that what was seen is still true when the signal comes.
    """
    freeze = name not in {"kafka", "postgres"}
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        looked_at = time.monotonic()
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
        if isinstance(last, Pressure) and caught(last):
            street.kill(name, signal.SIGKILL)
            return last
        if freeze:
            street.kill(name, signal.SIGCONT)
        # As long as it stood still: one that hardly ever runs loses its partitions, and is in the middle of nothing.
        time.sleep(max(0.05, time.monotonic() - looked_at))
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
