"""Every room's own small web: /livez, /readyz, /metrics and, for the shared clock, /activity."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from trueup.runtime.metrics import CONTENT_TYPE, Registry


@dataclass(frozen=True, slots=True)
class Health:
    """An answer to "are you alive?" or "are you ready?", with its reason."""

    ok: bool
    why: str


@dataclass(frozen=True, slots=True)
class Activity:
    """What the shared clock asks before it moves on: is anything left to do at this date?

    `work` only ever grows while the process lives; equal sums twice mean that nothing happened in between.
    """

    idle: bool
    work: int
    next_due_ms: int | None
    owns: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    status: int
    content_type: str
    body: bytes


def _json(status: int, content: object) -> Answer:
    return Answer(status, "application/json", json.dumps(content).encode())


def _health(ask: Callable[[], Health]) -> Answer:
    health = ask()
    return _json(200 if health.ok else 503, asdict(health))


class Pages:
    """The four paths and their answers, whoever serves them."""

    def __init__(
        self,
        registry: Registry,
        live: Callable[[], Health],
        ready: Callable[[], Health],
        activity: Callable[[], Activity],
    ) -> None:
        self._paths: dict[str, Callable[[], Answer]] = {
            "/livez": lambda: _health(live),
            "/readyz": lambda: _health(ready),
            "/metrics": lambda: Answer(200, CONTENT_TYPE, registry.render()),
            "/activity": lambda: _json(200, asdict(activity())),
        }

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that has an answer."""
        return tuple(self._paths)

    def answer(self, path: str) -> Answer:
        """The answer to a GET of this path; a question that fails is an answer too, never a dropped connection."""
        ask = self._paths.get(path.partition("?")[0])
        if ask is None:
            return _json(404, {"paths": sorted(self._paths)})
        try:
            return ask()
        except Exception as error:  # whatever a probe raises means "not well", and the reason belongs in the answer
            return _json(503, {"ok": False, "why": f"{type(error).__name__}: {error}"})


class RoomServer:
    """Serves the four paths from a thread of its own; port 0 takes any free one."""

    def __init__(
        self,
        port: int,
        registry: Registry,
        live: Callable[[], Health],
        ready: Callable[[], Health],
        activity: Callable[[], Activity],
        host: str = "127.0.0.1",
    ) -> None:
        self._pages = Pages(registry, live, ready, activity)
        self._server = ThreadingHTTPServer((host, port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="web", daemon=True, kwargs={"poll_interval": 0.1})

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stops answering and frees the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str) -> Answer:
        """The answer to a GET of this path."""
        return self._pages.answer(path)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        room = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # the name that http.server looks for
                answer = room.answer(self.path)
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                """Probes come every second; a line for each would bury the log."""

        return Handler
