"""An endpoint for webhooks that answers as the test says and verifies with Stripe's own SDK."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import stripe

from tests.system.emulator.running import RunningEmulator

PATIENCE_SECONDS = 120
CYCLE = ["customer.subscription.updated", "invoice.created", "invoice.finalized", "invoice.paid"]


@dataclass(frozen=True)
class Heard:
    """One webhook as it came in."""

    body: bytes
    signature: str

    def event(self, secret: str, tolerance: int | None = None) -> stripe.Event:
        """Verify and read it with the SDK; the simulated date says nothing about the machine's, so age is not checked here."""
        stripe.WebhookSignature.verify_header(self.body.decode(), self.signature, secret, tolerance)
        return stripe.Event.construct_from(json.loads(self.body), "sk_test_x")

    def fresh_signature(self, secret: str) -> str:
        """Check the signature as it came, and give one of the machine's date for parsers that check ages by that."""
        stripe.WebhookSignature.verify_header(self.body.decode(), self.signature, secret, None)
        header: str = stripe.WebhookSignature.generate_signature_header(self.body.decode(), secret)
        return header

    @property
    def signed_at(self) -> int:
        """The date in the signature."""
        return int(self.signature.partition(",")[0].removeprefix("t="))


@dataclass
class Listener:
    """What was heard, and what is answered."""

    url: str = ""
    secret: str = ""
    endpoint: str = ""
    status: int = 200
    heard: list[Heard] = field(default_factory=list)
    thinks: threading.Event | None = None

    def wait_until_heard(self) -> None:
        """Wait until anything came in."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not self.heard:
            assert time.monotonic() < give_up, "no webhook came"
            time.sleep(0.01)

    def events(self) -> list[Any]:
        """Everything heard, verified."""
        return [heard.event(self.secret) for heard in self.heard]

    def kinds(self) -> list[str]:
        """The types of everything heard, in order."""
        return [event.type for event in self.events()]


def wait_until_idle(emulator: RunningEmulator) -> dict[str, Any]:
    """Wait until nothing is under way or due, and give what the emulator then says of itself."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        activity: dict[str, Any] = emulator.ask("activity")
        if activity["idle"]:
            return activity
        assert time.monotonic() < give_up, activity["why"]
        time.sleep(0.01)


@contextmanager
def listening(emulator: RunningEmulator, *, enabled_events: list[str] | None = None, payload: str = "snapshot") -> Iterator[Listener]:
    """Listen on a port of this machine, as an endpoint made through the SDK; one for thin events through the set-up door."""
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            listener.heard.append(Heard(body, self.headers["Stripe-Signature"]))
            if listener.thinks is not None:
                listener.thinks.wait(PATIENCE_SECONDS)
            self.send_response(listener.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    listener.url = f"http://127.0.0.1:{server.server_port}/webhooks/stripe"
    endpoints = emulator.client().v1.webhook_endpoints
    if payload == "snapshot":
        made = endpoints.create({"url": listener.url, "enabled_events": enabled_events or ["*"]})  # type: ignore[typeddict-item]
        listener.secret, listener.endpoint = made.secret or "", made.id
    else:
        listener.secret, listener.endpoint = "whsec_thin", f"we_{server.server_port}_{uuid.uuid4()}"
        wish = {"id": listener.endpoint, "url": listener.url, "enabled_events": enabled_events or ["*"]}
        emulator.tell("webhook_endpoints", {**wish, "payload": payload, "secret": listener.secret})
    try:
        yield listener
    finally:
        if emulator.process.poll() is None:
            endpoints.delete(listener.endpoint)
        server.shutdown()
        server.server_close()
        thread.join()
