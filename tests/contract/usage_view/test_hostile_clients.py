"""Clients that mean no good, or are merely slow: each is refused early, and nobody else waits for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from devstack.places import LOOPBACK
from tests.conftest import Database
from tests.makers.raw_http import begun, head, status_of
from tests.makers.room_process import bearer
from tests.makers.true_ledger import TrueLedger
from tests.makers.usage_room import UsageRoom, usage_room
from tests.makers.usage_story import captured_story
from trueup.runtime.settings import StreetSettings

TEN_MEGABYTES = 10 * 1024 * 1024
LINKS, USAGE, PAGE = "/v1/customer-links", "/v1/customers/acme/usage", "/customers/acme"


@pytest.fixture
def impatient(settings: StreetSettings, ledger: TrueLedger, database: Database, key: str, tmp_path: Path) -> Iterator[UsageRoom]:
    """A room that waits a second for a head and two for a body, and takes eight requests at once."""
    captured_story(ledger)
    limits = {"TRUEUP_USAGE_HEADER_SECONDS": "1", "TRUEUP_USAGE_BODY_SECONDS": "2", "TRUEUP_USAGE_REQUESTS": "8"}
    with usage_room(settings, database, tmp_path, **limits, TRUEUP_USAGE_REQUESTS_OF_KEY="4") as running:
        yield running


def answers(cases: list[tuple[socket.socket, int]]) -> None:
    """Each connection is answered as the table says."""
    assert [status_of(connection) for connection, _ in cases] == [status for _, status in cases]
    for connection, _ in cases:
        connection.close()


def test_refused_before_a_body_and_without_the_ledger(room: UsageRoom, key: str) -> None:
    """No key, a wrong one, a body that says it is too large, a link that is none: answered before a byte more is read."""
    shown, wrong = f"Authorization: Bearer {key}", f"Authorization: Bearer {key[:-4]}0000"
    large = f"Content-Length: {TEN_MEGABYTES}"
    answers(
        [
            (head(room.port, large, path=LINKS), 401),
            (head(room.port, large, wrong, path=LINKS), 401),
            (head(room.port, large, shown, path=LINKS), 413),
            (head(room.port, wrong, path=USAGE, method="GET"), 401),
            (head(room.port, large, wrong, path=USAGE, method="GET"), 401),
            (head(room.port, "Transfer-Encoding: chunked", "Content-Length: 7", shown, path=LINKS), 400),
            (head(room.port, shown, shown, path=USAGE, method="GET"), 400),
            (head(room.port, large, path=PAGE, method="GET"), 403),
            (begun(room.port, b"GET /v1/customers/acme/usage?x=" + b"x" * 20_000), 400),
        ]
    )


def test_ten_megabytes(room: UsageRoom, key: str) -> None:
    """Refused with or without a key, and the room holds none of it."""
    body = b'{"customer": "' + b"x" * TEN_MEGABYTES + b'"}'
    before = room.memory()
    for _ in range(3):
        for shown, status in ((bearer(key), 413), (bearer(key[:-4] + "0000"), 401)):
            sent = {"Content-Type": "application/json"} | shown
            assert requests.post(room.url + LINKS, data=body, headers=sent, timeout=30).status_code == status
            assert requests.request("GET", room.url + USAGE, data=body, headers=sent, timeout=30).status_code in (200, 401)
    assert room.memory() - before < TEN_MEGABYTES
    assert requests.get(room.url + USAGE, headers=bearer(key), timeout=30).status_code == 200


def test_slow_clients_hold_nobody_up(impatient: UsageRoom, key: str) -> None:
    """A hundred heads that never end are hung up on; bodies that never come are told so; others are served meanwhile."""
    slow_heads = [begun(impatient.port, b"GET /v1/customers/acme/usage HTTP/1.1\r\nX-A: ") for _ in range(100)]
    slow_bodies = [head(impatient.port, "Content-Length: 100", f"Authorization: Bearer {key}", path=LINKS) for _ in range(4)]
    for connection in slow_bodies:
        connection.sendall(b"{")
    full = head(impatient.port, f"Authorization: Bearer {key}", path=USAGE, method="GET")
    assert status_of(full) == 429
    assert requests.get(f"{impatient.url}/livez", timeout=30).status_code == 200
    assert [status_of(connection) for connection in slow_bodies] == [408] * 4
    assert requests.get(impatient.url + USAGE, headers=bearer(key), timeout=30).status_code == 200
    for connection in slow_heads:
        with suppress(ConnectionError):
            while connection.recv(1_000):
                continue
        connection.close()
    assert requests.get(f"http://{LOOPBACK}:{impatient.probes}/activity", timeout=30).json()["idle"]


def test_answers_say_nothing_about_us(room: UsageRoom, key: str) -> None:
    """No server name, no stack, nothing to be kept by a cache."""
    for answer in (requests.get(room.url + USAGE, headers=bearer(key), timeout=30), requests.get(room.url + PAGE, timeout=30)):
        assert "server" not in {name.lower() for name in answer.headers}
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Traceback" not in answer.text
