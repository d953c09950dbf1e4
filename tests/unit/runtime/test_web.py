"""The room's web answers over a real socket, also when what it asks fails."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from trueup.runtime.metrics import Registry
from trueup.runtime.web import Activity, Health, RoomServer


def broken() -> Health:
    raise RuntimeError("no broker")


@pytest.fixture
def server() -> Iterator[RoomServer]:
    room = RoomServer(0, Registry(room="r"), lambda: Health(True, "up"), broken, lambda: Activity(True, 7, None, ("dedupe:0",), ""))
    room.start()
    yield room
    room.stop()


def get(server: RoomServer, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_four_paths_answer(server: RoomServer) -> None:
    """Probes, metrics and activity, and nothing else."""
    assert get(server, "/livez") == (200, b'{"ok": true, "why": "up"}')
    assert b"trueup_build_info" in get(server, "/metrics")[1]
    status, body = get(server, "/activity")
    assert status == 200
    assert json.loads(body) == {"idle": True, "work": 7, "next_due_ms": None, "owns": ["dedupe:0"], "why": ""}
    assert get(server, "/")[0] == 404


def test_probe_that_raises_is_not_ready_and_says_why(server: RoomServer) -> None:
    """A dropped connection would tell the supervisor nothing."""
    status, body = get(server, "/readyz")
    assert status == 503 and b"RuntimeError: no broker" in body
