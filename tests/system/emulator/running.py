"""An emulator in a process of its own, driven only over HTTP and by Stripe's SDK."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import stripe

API_KEY = "sk_test_emulator_tests"
START_MS = 1_790_812_800_000  # 2026-10-01T00:00:00Z
HOUR = 3600
DAY = 86_400


class _Impatient(stripe.RequestsClient):
    """Stripe's own HTTP client without the waits between its retries."""

    INITIAL_DELAY = 0
    MAX_DELAY = 0


def headers_of(error: stripe.StripeError) -> Mapping[str, str]:
    """Give the headers of an error answer."""
    assert error.headers is not None
    return error.headers


class HandClock:
    """The file of a simulated clock, moved by the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set_ms(START_MS)

    def set_ms(self, milliseconds: int) -> None:
        """Write an instant; the file keeps its identity, since the emulator has it mapped."""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("<q", milliseconds))

    @property
    def now_ms(self) -> int:
        """Read the instant back."""
        milliseconds: int = struct.unpack("<q", self.path.read_bytes())[0]
        return milliseconds

    @property
    def now(self) -> int:
        """The instant in whole seconds."""
        return self.now_ms // 1000

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.set_ms(self.now_ms + int(seconds * 1000))

    def to_next(self, seconds: int) -> int:
        """Go on to the next whole multiple of so many seconds, and give it."""
        self.set_ms((self.now // seconds + 1) * seconds * 1000)
        return self.now


class RunningEmulator:
    """One emulator process and the folder that outlives it."""

    def __init__(self, folder: Path, clock: HandClock | None) -> None:
        self.folder = folder
        self.clock = clock
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        clock = "system" if self.clock is None else f"simulated:{self.clock.path}"
        command = [sys.executable, "-m", "devstack.stripe_emulator", "--port", str(self.port), "--clock", clock]
        command += ["--data-dir", str(self.folder), "--api-key", API_KEY]
        self.process = subprocess.Popen(command)
        give_up = time.monotonic() + 30
        while not self._ready():
            assert self.process.poll() is None, f"the emulator ended with {self.process.returncode}"
            assert time.monotonic() < give_up, "the emulator was not ready within 30 s"
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.ConnectionError:
            return False

    def kill(self) -> None:
        """End the process as the kill tests do."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Kill it and start it again on the same folder."""
        self.kill()
        self.start()

    def client(self, *, retries: int = 0) -> stripe.StripeClient:
        """Make a client of Stripe's own SDK."""
        return stripe.StripeClient(
            API_KEY, base_addresses={"api": self.url, "meter_events": self.url}, max_network_retries=retries, http_client=_Impatient()
        )

    def ask(self, door: str, **query: Any) -> Any:
        """Read one of the emulator's own doors."""
        answer = requests.get(f"{self.url}/_emulator/{door}", params=query, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def tell(self, door: str, wish: Any) -> Any:
        """Use one of the emulator's own doors."""
        answer = requests.post(f"{self.url}/_emulator/{door}", json=wish, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def post(self, path: str, form: str | bytes, **headers: str) -> requests.Response:
        """Post a raw form, for what the SDK would never send."""
        sent = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/x-www-form-urlencoded"}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        return requests.post(self.url + path, data=form, headers=sent, timeout=30)


@dataclass(frozen=True)
class World:
    """What one test has to itself in a shared emulator: a meter, a customer, and names that nobody else uses."""

    emulator: RunningEmulator
    clock: HandClock
    stripe: stripe.StripeClient
    event_name: str
    meter: str
    customer: str

    def name(self, stem: str) -> str:
        """Make a name that no other test uses."""
        return f"{stem}-{uuid.uuid4()}"

    def form(self, value: str = "1", **others: Any) -> Any:
        """Make the parameters of a meter event."""
        return {"event_name": self.event_name, "payload": {"stripe_customer_id": self.customer, "value": value}, **others}

    def report(self, value: str = "1", *, key: str | None = None, **others: Any) -> Any:
        """Report usage through the SDK."""
        return self.stripe.v1.billing.meter_events.create(self.form(value, **others), {"idempotency_key": key} if key else {})

    def summaries(self, start: int, end: int, **others: Any) -> Any:
        """Read summaries through the SDK."""
        query: Any = {"customer": self.customer, "start_time": start, "end_time": end, **others}
        return self.stripe.v1.billing.meters.event_summaries.list(self.meter, query)

    def page(self) -> dict[str, Any]:
        """Read this world's page of the emulator's books."""
        page: dict[str, Any] = self.emulator.ask("books")["meters"][self.event_name].get(
            self.customer, {"events": 0, "value": "0", "hours": {}}
        )
        return page

    def switch(self, **wishes: Any) -> None:
        """Set switches; the fixture sets them back."""
        self.emulator.tell("settings", wishes)

    def trouble(self, kind: str, count: int | None = 1, path: str = "/v1/billing/meter_events", **others: Any) -> None:
        """Order a fault."""
        self.emulator.tell("faults", [{"path": path, "kind": kind, "count": count, **others}])


def make_world(emulator: RunningEmulator, **meter: Any) -> World:
    """Make a meter and a customer that nobody else uses."""
    client = emulator.client()
    event_name = f"usage-{uuid.uuid4()}"
    wish: Any = {"display_name": "Usage", "event_name": event_name, "default_aggregation": {"formula": "sum"}, **meter}
    made = client.v1.billing.meters.create(wish)
    customer = client.v1.customers.create({"name": "Acme"})
    assert emulator.clock is not None
    return World(emulator, emulator.clock, client, event_name, made.id, customer.id)
