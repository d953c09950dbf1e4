"""Before the doors: how many requests are in hand, what each was answered, and an end for bodies that nobody wants."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from trueup.contracts.problems import MEDIA_TYPE, Problem
from trueup.runtime.metrics import Kind, Metric, Registry

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

INSTANCE = "trueup_instance"
RETRY_AFTER_SECONDS = 1
# A client that is still sending its body sees an answer only if somebody takes the rest from it; for so long and so much, and no more.
DRAIN_SECONDS = 1.0
DRAIN_BYTES = 16 * 1024 * 1024
MOST_DRAINING = 32
REQUESTS = Metric(Kind.COUNTER, "requests_total", "Answers by door and HTTP status.", ("door", "status"))
REQUEST_SECONDS = Metric(Kind.HISTOGRAM, "request_seconds", "From the head of a request to the end of its answer.", ("door",))
IN_HAND = Metric(Kind.GAUGE, "requests_in_hand", "Requests that are being answered now.")
DOOR_METRICS = (REQUESTS, REQUEST_SECONDS, IN_HAND)
"""What every registry behind a gate declares."""
_FULL = Problem(503, "full", "Too many requests are in hand", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


class Gate:
    """Lets so many requests in at once, of which doors that need no key may be a quarter each."""

    def __init__(self, app: App, registry: Registry, most: int, doors: Sequence[tuple[str, str]], open_doors: Sequence[str] = ()) -> None:
        """`doors` are prefixes of paths and the names they are counted under, the first that fits."""
        self._app = app
        self._registry = registry
        self._doors = tuple(doors)
        self._most: Mapping[str, int] = {"": most, **{door: max(1, most // 4) for door in open_doors}}
        self._in_hand: dict[str, int] = {}
        self._draining = 0
        self.work = 0

    @property
    def in_hand(self) -> int:
        """Requests that are being answered."""
        return sum(self._in_hand.values())

    def door_of(self, path: str) -> str:
        """Which door a path is, for labels: never the path itself, which anyone may invent."""
        return next((door for prefix, door in self._doors if path.startswith(prefix)), "other")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        scope[INSTANCE] = f"urn:uuid:{uuid.uuid4()}"
        door = self.door_of(scope["path"])
        exchange = _Exchange(scope, receive, send)
        started = time.monotonic()
        self.work += 1
        if self.in_hand >= self._most[""] or self._in_hand.get(door, 0) >= self._most.get(door, self._most[""]):
            await answer_problem(_FULL, scope, exchange.send)
        else:
            await self._let_in(door, scope, exchange)
        self._registry.increase(REQUESTS, door=door, status=str(exchange.status))
        self._registry.observe(REQUEST_SECONDS, time.monotonic() - started, door=door)
        await self._end(exchange)

    async def _let_in(self, door: str, scope: Scope, exchange: _Exchange) -> None:
        self._in_hand[door] = self._in_hand.get(door, 0) + 1
        self._registry.set(IN_HAND, self.in_hand)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._in_hand[door] -= 1
            self.work += 1
            self._registry.set(IN_HAND, self.in_hand)

    async def _end(self, exchange: _Exchange) -> None:
        if exchange.last is None:
            return
        if self._draining < MOST_DRAINING:
            self._draining += 1
            try:
                await exchange.drain()
            finally:
                self._draining -= 1
        await exchange.send_last()


class _Exchange:
    """One request and its answer. An answer to a body that was not read to its end closes the connection, after a moment's patience."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        self.status = 0
        self.last: dict[str, Any] | None = None
        self._receive = receive
        self._send = send
        self._read = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        # Such a client sends its body only when it is asked to, and it is not.
        self._waits = b"expect" in headers
        self._closing = False

    async def receive(self) -> Any:
        """Pass on a piece of the body."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._read = True
        return message

    async def send(self, message: dict[str, Any]) -> None:
        """Pass on a piece of the answer; hold back the end of one that comes before the end of the body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._closing = not self._read
            message["headers"] = [*message.get("headers", []), (b"cache-control", b"no-store")]
            if self._closing:
                message["headers"].append((b"connection", b"close"))
        elif self._closing and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            self.last = {"type": "http.response.body", "body": b"", "more_body": False}
            return
        await self._send(message)

    async def drain(self) -> None:
        """Take what is still coming, and look at none of it."""
        if self._waits:
            return
        taken = 0
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._read and taken < DRAIN_BYTES:
                    taken += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return

    async def send_last(self) -> None:
        """End the answer."""
        if self.last is not None:
            await self._send(self.last)


async def answer_problem(problem: Problem, scope: Scope, send: Send) -> None:
    """Answer with a problem, without the application."""
    body = problem.body(scope[INSTANCE])
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
