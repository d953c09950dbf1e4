"""Clients that mean no good, or are merely slow: each is refused early, and nobody else waits for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from devstack.places import LOOPBACK
from tests.makers.ingest_room import IngestRoom, an_event, append_catalogue, bearer, ingest_room, signed
from tests.makers.raw_http import begun, head, status_of
from trueup.runtime.settings import StreetSettings

TEN_MEGABYTES = 10 * 1024 * 1024


@pytest.fixture
def impatient(settings: StreetSettings, key: str, tmp_path: Path) -> Iterator[IngestRoom]:
    """A room that waits a second for a head and two for a body, and takes eight requests at once."""
    append_catalogue(settings)
    limits = {"TRUEUP_INGEST_HEADER_SECONDS": "1", "TRUEUP_INGEST_BODY_SECONDS": "2", "TRUEUP_INGEST_REQUESTS": "8"}
    with ingest_room(settings, tmp_path, **limits, TRUEUP_INGEST_REQUESTS_OF_KEY="4") as running:
        yield running


def test_no_key_no_body(room: IngestRoom, key: str) -> None:
    """The answer is there before a byte of the body was sent; so it is for a body that says it is too large."""
    wrong = f"Authorization: Bearer {key[:-4]}0000"
    signature = f"Stripe-Signature: {signed(b'')}"
    cases = [
        (head(room.port, "Content-Length: 1000000"), 401),
        (head(room.port, "Content-Length: 1000000", wrong), 401),
        (head(room.port, "Transfer-Encoding: chunked", wrong), 401),
        (head(room.port, f"Content-Length: {TEN_MEGABYTES}", f"Authorization: Bearer {key}"), 413),
        (head(room.port, "Content-Length: " + "9" * 18, f"Authorization: Bearer {key}"), 413),
        (head(room.port, "Content-Length: 1000", path="/webhooks/stripe"), 400),
        (head(room.port, f"Content-Length: {TEN_MEGABYTES}", signature, path="/webhooks/stripe"), 413),
        (head(room.port, "Content-Length: 7", f"Authorization: Bearer {key}", f"Authorization: Bearer {key}"), 400),
        (head(room.port, "Content-Length: 7", "Transfer-Encoding: chunked", f"Authorization: Bearer {key}"), 400),
        (begun(room.port, b"POST /v1/events HTTP/1.1\r\nX: " + b"x" * 20_000), 400),
    ]
    assert [status_of(connection) for connection, _ in cases] == [status for _, status in cases]
    for connection, _ in cases:
        connection.close()


def test_ten_megabytes(room: IngestRoom, key: str) -> None:
    """Said or not said, with a key or without: refused, the client sees why, and the room holds none of it."""
    body = b"[" + b" " * TEN_MEGABYTES + b"]"
    requests.post(f"{room.url}/v1/events", json=an_event(), headers=bearer(key), timeout=30)
    before = room.memory()
    headers = {"Content-Type": "application/json"}
    for _ in range(5):
        for shown, status in ((bearer(key), 413), (bearer(key[:-4] + "0000"), 401)):
            assert requests.post(f"{room.url}/v1/events", data=body, headers=headers | shown, timeout=30).status_code == status
            pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
            assert requests.post(f"{room.url}/v1/events", data=pieces, headers=headers | shown, timeout=30).status_code == status
    simple = head(room.port, f"Content-Length: {len(body)}", f"Authorization: Bearer {key}")
    simple.sendall(body)  # a client that sends all of it before it listens is not cut off half-way
    assert status_of(simple) == 413
    assert room.memory() - before < TEN_MEGABYTES
    assert requests.post(f"{room.url}/v1/events", json=an_event(), headers=bearer(key), timeout=30).status_code == 202


def test_slow_heads_are_hung_up_on(impatient: IngestRoom, key: str) -> None:
    """A hundred clients that send a byte now and then: all are gone in a moment, and others are served meanwhile."""
    slow = [begun(impatient.port, b"POST /v1/events HTTP/1.1\r\nX-A: ") for _ in range(100)]
    assert requests.post(f"{impatient.url}/v1/events", json=an_event(), headers=bearer(key), timeout=30).status_code == 202
    ended = 0
    for connection in slow:
        with suppress(ConnectionError):
            while connection.recv(1_000):
                continue
        ended += 1
        connection.close()
    assert ended == len(slow)


def test_a_slow_second_head_is_hung_up_on_too(impatient: IngestRoom) -> None:
    """The first request of a connection may not buy it patience for the next."""
    connection = begun(impatient.port, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status_of(connection) == 200
    connection.sendall(b"G")
    assert status_of(connection) == 0


def test_slow_bodies_are_told(impatient: IngestRoom, key: str) -> None:
    """Who has a key and sends a byte now and then is told so; four of them are all that one key may have, others get in."""
    shown = f"Authorization: Bearer {key}"
    slow = [head(impatient.port, "Content-Length: 1000", shown) for _ in range(4)]
    for connection in slow:
        connection.sendall(b"[")
    full = head(impatient.port, "Content-Length: 2", shown)
    assert status_of(full) == 429
    assert requests.get(f"{impatient.url}/livez", timeout=30).status_code == 200
    assert [status_of(connection) for connection in slow] == [408] * 4
    assert requests.post(f"{impatient.url}/v1/events", json=an_event(), headers=bearer(key), timeout=30).status_code == 202


def test_who_knocks_without_a_key_does_not_take_the_room(impatient: IngestRoom, key: str) -> None:
    """Webhooks whose bodies never come may be a quarter of what is in hand."""
    slow = [head(impatient.port, "Content-Length: 1000", f"Stripe-Signature: {signed(b'')}", path="/webhooks/stripe") for _ in range(8)]
    time.sleep(0.3)
    assert requests.post(f"{impatient.url}/v1/events", json=an_event(), headers=bearer(key), timeout=30).status_code == 202
    answered = [status_of(connection) for connection in slow]
    assert sorted(answered) == [408, 408] + [503] * 6
    assert requests.get(f"http://{LOOPBACK}:{impatient.probes}/activity", timeout=30).json()["idle"]


def test_answers_say_nothing_about_us(room: IngestRoom, key: str) -> None:
    """No server name, no stack, nothing to be kept by a cache."""
    answer = requests.post(
        f"{room.url}/v1/events", data=json.dumps([None]), headers={**bearer(key), "Content-Type": "application/json"}, timeout=30
    )
    assert answer.status_code == 422
    assert "server" not in {name.lower() for name in answer.headers}
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Traceback" not in answer.text
