"""The keys to the doors, read from the ledger every few seconds, and at once for a key that is not known yet."""

from __future__ import annotations

import asyncio
import hmac
import threading
import time
from collections.abc import Callable, Mapping

from trueup.contracts.errors import Broken, Transient
from trueup.ledger.store import api_keys
from trueup.ledger.store.api_keys import ApiKey
from trueup.ledger.store.session import Connection, Session
from trueup.runtime.clock import Clock
from trueup.runtime.metrics import Kind, Metric, Registry
from trueup.runtime.web import Health

KEYS_READ = Metric(Kind.GAUGE, "api_keys_read_timestamp_seconds", "When the keys were last read from the ledger.")
READ_SECONDS = 2.0
LEAST_PAUSE_SECONDS = 0.25
WAIT_SECONDS = 1.5
# Whoever guesses names of keys must not make the ledger work, nor fill the room with waiting requests.
MOST_WAITING = 16
_POLL_SECONDS = 0.02
_NO_HASH = bytes(32)

ReadKeys = Callable[[Connection], list[ApiKey]]


class KeyRing:
    """The live keys by name. A key that was made a moment ago is found; one that was revoked is refused within two seconds."""

    def __init__(self, dsn: str, name: str, stale_seconds: float, clock: Clock, registry: Registry, read: ReadKeys) -> None:
        """`read` looks into the ledger; PipelineError when that must not be relied upon. Keys hold for `stale_seconds` without it."""
        self._session = Session(dsn, name)
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._registry = registry
        self._read_ledger = read
        self._keys: Mapping[str, ApiKey] = {}
        self._begun = 0
        self._done = 0
        self._read_at: float | None = None
        self._why = "the keys were not read yet"
        self._waiting = 0
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="keys", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join(READ_SECONDS)

    def health(self) -> Health:
        """Whether the keys are known."""
        return Health(self._known(), self._why)

    async def find(self, text: str) -> ApiKey | None:
        """The live key of this text; Transient while the keys are not known."""
        key_id = api_keys.id_in(text)
        if key_id is None:
            return None
        if not self._known():
            raise Transient(f"keys cannot be checked: {self._why}")
        if key_id not in self._keys and self._waiting < MOST_WAITING:
            await self._read_again()
        key = self._keys.get(key_id)
        # A name that is not known costs what a known one costs.
        matches = hmac.compare_digest(api_keys.hash_of(text), key.key_sha256 if key else _NO_HASH)
        return key if key is not None and matches else None

    async def _read_again(self) -> None:
        """Wait for a reading that began after now."""
        begun = self._begun
        self._wanted.set()
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while self._done <= begun:
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as late:
            raise Transient(f"keys cannot be checked: {self._why}") from late
        finally:
            self._waiting -= 1

    def _known(self) -> bool:
        return self._read_at is not None and time.monotonic() - self._read_at < self._stale_seconds

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self._wanted.clear()
            self._begun += 1
            self._read()
            self._stopping.wait(LEAST_PAUSE_SECONDS)
            self._wanted.wait(READ_SECONDS - LEAST_PAUSE_SECONDS)
        self._session.close()

    def _read(self) -> None:
        number = self._begun
        try:
            found = self._session.run(self._read_ledger)
        except (Transient, Broken) as away:
            self._why = str(away)
            return
        self._keys = {key.key_id: key for key in found if key.revoked_at_ms is None}
        self._read_at, self._why = time.monotonic(), "the keys are read"
        self._done = number
        self._registry.set(KEYS_READ, self._clock.now_ms() / 1_000)
