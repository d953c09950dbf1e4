"""Where the source topic ends, asked beside the event loop when somebody wants to know."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaException

from services.usage_view.config import Settings
from services.usage_view.core.freshness import Mark
from services.usage_view.metrics import BROKER_ASKED
from trueup.contracts.topics import TopicNames
from trueup.runtime import log
from trueup.runtime.clock import Clock
from trueup.runtime.kafka import OffsetsReader
from trueup.runtime.metrics import Registry

FRESH_SECONDS = 1.0
ANSWER_SECONDS = 0.5
WAIT_SECONDS = 2.0
# While the broker is away nobody waits for it again and again: the answer without it is cautious, not wrong.
PAUSE_SECONDS = 5.0


class BrokerEnds:
    """One client in one thread; whoever asks while it is asking waits for the same answer."""

    def __init__(self, settings: Settings, clock: Clock, registry: Registry) -> None:
        self._topic = TopicNames(settings.topic_prefix).usage_events
        self._partitions = settings.partitions
        self._clock = clock
        self._registry = registry
        self._reader = OffsetsReader(settings)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ends")
        self._asking: asyncio.Future[Mark | None] | None = None
        self._mark: Mark | None = None
        self._asked_at = 0.0
        self._not_before = 0.0

    async def mark(self) -> Mark | None:
        """Where each partition ends, asked for at most a moment ago; None while the broker does not answer."""
        if self._is_fresh() or time.monotonic() < self._not_before:
            return self._mark
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(self._thread, self._ask)
        try:
            return await asyncio.wait_for(asyncio.shield(self._asking), WAIT_SECONDS)
        except TimeoutError:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            return None

    def stop(self) -> None:
        """Close the connections."""
        self._thread.shutdown(wait=True)
        self._reader.close()

    def _is_fresh(self) -> bool:
        if self._mark is None or time.monotonic() - self._asked_at > FRESH_SECONDS:
            return False
        # A simulated date moves by hours at once, and everything that arrived before it is settled by then.
        return not self._clock.simulated or self._mark.asked_ms == self._clock.now_ms()

    def _ask(self) -> Mark | None:
        asked_ms, started = self._clock.now_ms(), time.monotonic()
        try:
            found = {number: self._reader.low_and_high(self._topic, number, ANSWER_SECONDS) for number in range(self._partitions)}
        except KafkaException as fault:
            log.get("usage-view").warning(f"the broker does not say where {self._topic} ends: {fault}")
            self._mark, self._not_before = None, time.monotonic() + PAUSE_SECONDS
            return None
        # What was deleted before this ledger began is nobody's to capture.
        self._mark = Mark(asked_ms, {number: end if end > low else 0 for number, (low, end) in found.items()})
        self._asked_at = started
        self._registry.set(BROKER_ASKED, asked_ms / 1_000)
        return self._mark
