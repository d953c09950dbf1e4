"""The head of a request, and its body within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from trueup.contracts.events import LONGEST_NAME
from trueup.contracts.problems import Problem, Refused, is_text, malformed, too_large

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
NO_SUCH_PATH = Problem(404, "no-such-path", "There is no such path", "names in a path are percent-encoded, 1 to 255 characters")
# Two of one of these leave it open which one was meant: by us, or by a proxy before us.
_ONCE = frozenset({"authorization", "content-type", "content-encoding", "content-length", "stripe-signature"})


def heads(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers by name, in lower case."""
    found: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in found and (name in _ONCE or name.startswith("ce-")):
            raise malformed(f"the header {name} stands twice")
        found[name] = value
    if "content-length" in found and "transfer-encoding" in found:
        raise malformed("content-length and transfer-encoding say two things: where does the body end?")
    return found


def segments(scope: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    """What stands behind a prefix in the path, each part decoded by itself: a name may hold a slash, written %2F.

    A name that nobody can have makes it no such path.
    """
    raw = bytes(scope.get("raw_path", b"")).decode("ascii", "replace")
    try:
        parts = tuple([unquote(part, errors="strict") for part in raw[raw.find(prefix) + len(prefix) :].split("/")])
    except UnicodeDecodeError as fault:
        raise Refused(NO_SUCH_PATH) from fault
    if not all(0 < len(part) <= LONGEST_NAME and "\0" not in part and is_text(part) for part in parts):
        raise Refused(NO_SUCH_PATH)
    return parts


async def read_body(receive: Receive, headers: Mapping[str, str], limit_bytes: int, seconds: float) -> bytes:
    """The body; Refused before it is read when its head says that it is too large, and as soon as it proves to be."""
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit_bytes:
        raise too_large(limit_bytes)
    chunks: list[bytes] = []
    received = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise malformed("the client left before its body was there")
                chunks.append(message.get("body", b""))
                received += len(chunks[-1])
                if received > limit_bytes:
                    raise too_large(limit_bytes)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError as slow:
        detail = f"the body was not there within {seconds:g} s"
        raise Refused(Problem(408, "body-too-slow", "The body came too slowly", detail)) from slow
