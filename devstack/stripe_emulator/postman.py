"""Tells webhook endpoints what happened: one attempt after another, signed, and again later when it was not answered with 2xx."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json

import aiohttp

from devstack.stripe_emulator import cycle, events
from devstack.stripe_emulator.deliveries import Delivery
from devstack.stripe_emulator.faults import WEBHOOK_ATTEMPT, WEBHOOK_PREFIX, Fault
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.pipeline import Pipeline
from devstack.stripe_emulator.signing import keys_in_force, new_secret, signature
from devstack.stripe_emulator.state import Object

# Stripe publishes no intervals, only that they grow and end after three days.
_RETRY_SECONDS = (300, 1800, 7200, 18_000, 36_000)
_LATER_RETRIES_SECONDS = 43_200
_LOOK_SECONDS = 0.05
_USER_AGENT = "Stripe/1.0 (+https://stripe.com/docs/webhooks)"


class Postman:
    """Delivers in the background; between attempts it lets the cycle go on."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._state = pipeline.state

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with aiohttp.ClientSession(headers={"User-Agent": _USER_AGENT}) as session:
            while True:
                self._pipeline.catch_up()
                delivery = self._next()
                if delivery is None:
                    await self._rest()
                else:
                    await self._attempt(session, delivery)

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pipeline.stirred.wait(), _LOOK_SECONDS)
        self._pipeline.stirred.clear()

    def _next(self) -> Delivery | None:
        """Choose the next attempt: by date, and among those of one date as the switch says."""
        deliveries, switches = self._state.deliveries, self._state.switches
        first = deliveries.first()
        if first is None or first.at_ms > self._pipeline.clock.now_ms():
            return None
        if switches.webhook_order == "as_created":
            return deliveries.one(first.kind, first.identifier)
        together = deliveries.due_at(first.at_ms)
        if switches.webhook_order == "newest_first":
            return together[-1]
        return min(together, key=lambda delivery: _share(switches.webhook_seed, delivery))

    async def _attempt(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        """Make one attempt, and note what became of it as of the date it was due."""
        event, at_ms = self._state.objects["event"][delivery.event], delivery.due_ms or 0
        endpoint = self._state.objects["webhook_endpoint"][delivery.endpoint]
        if endpoint["status"] != "enabled":
            self._note(delivery, at_ms, "the endpoint is switched off", retries=False)
            return
        body = json.dumps(events.delivered_body(self._state, event), indent=2).encode()
        held = self._state.faults.hold(
            WEBHOOK_ATTEMPT, WEBHOOK_PREFIX + event["type"], body.decode(), f"{delivery.event} {delivery.attempts}"
        )
        fault = None if held is None else held[1]
        used: list[Record] = [] if held is None else [{"record": "fault_used", "number": held[0]}]
        header = self._header(endpoint, body, fault)
        if fault is not None and fault.kind == "drop":
            failure: str | None = "dropped on the way"
        elif fault is not None and fault.kind == "lose":
            failure = None
        else:
            failure = await self._send(session, endpoint["url"], body, header)
            if fault is not None and fault.kind == "duplicate":
                await self._send(session, endpoint["url"], body, header)
        if self._state.deliveries.one(delivery.event, delivery.endpoint).due_ms is not None:
            self._note(delivery, at_ms, failure, used)

    def _header(self, endpoint: Object, body: bytes, fault: Fault | None) -> str:
        now_ms = self._pipeline.clock.now_ms()
        timestamp, keys = now_ms // 1000, keys_in_force(endpoint, now_ms)
        if fault is not None and fault.kind in ("stale", "future"):
            timestamp += int(fault.seconds) * (1 if fault.kind == "future" else -1)
        if fault is not None and fault.kind == "forged":
            keys = [new_secret()]
        return signature(body, timestamp, keys)

    async def _send(self, session: aiohttp.ClientSession, url: str, body: bytes, header: str) -> str | None:
        """Send once; give what went wrong."""
        headers = {"Stripe-Signature": header, "Content-Type": "application/json; charset=utf-8"}
        timeout = aiohttp.ClientTimeout(total=self._state.switches.webhook_timeout_seconds)
        try:
            async with session.post(url, data=body, headers=headers, timeout=timeout, allow_redirects=False) as answer:
                await answer.read()
                return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    def _note(self, delivery: Delivery, at_ms: int, failure: str | None, used: list[Record] | None = None, *, retries: bool = True) -> None:
        next_ms = self._next_attempt_ms(delivery, at_ms) if failure is not None and retries else None
        record = {
            "record": "delivery",
            "event": delivery.event,
            "endpoint": delivery.endpoint,
            "at_ms": at_ms,
            "failure": failure,
            "next_ms": next_ms,
        }
        event = self._state.objects["event"][delivery.event]
        # Nobody waits for an endpoint that was switched off.
        answered = failure is None or not retries
        opened = cycle.gate_opens(self._state, event, at_ms) if answered and self._opens_gate(event, delivery) else []
        self._pipeline.commit([record, *(used or []), *opened])

    def _next_attempt_ms(self, delivery: Delivery, at_ms: int) -> int | None:
        switches = self._state.switches
        pause = _RETRY_SECONDS[delivery.attempts] if delivery.attempts < len(_RETRY_SECONDS) else _LATER_RETRIES_SECONDS
        next_ms = at_ms + int(pause * switches.webhook_retry_scale * 1000)
        gives_up_ms = delivery.first_due_ms + switches.webhook_retry_until_seconds * switches.webhook_retry_scale * 1000
        return next_ms if next_ms <= gives_up_ms else None

    def _opens_gate(self, event: Object, delivery: Delivery) -> bool:
        if event["type"] != "invoice.created":
            return False
        if self._state.switches.invoice_created_gate == "any":
            return True
        others = [other for other in self._state.deliveries.of(event["id"]) if other.endpoint != delivery.endpoint]
        return all(other.delivered_ms is not None for other in others)


def _share(seed: int, delivery: Delivery) -> bytes:
    return hashlib.blake2b(f"{seed} {delivery.event} {delivery.endpoint}".encode(), digest_size=8).digest()
