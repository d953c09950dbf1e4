"""The street's own small web: its clock, who else is to be asked before it moves, and how its parts are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from devstack.clock import DEFAULT_PATIENCE_SECONDS, Barrier, Restless, duration_ms
from devstack.places import LOOPBACK
from trueup.runtime.clock import ms_from_rfc3339, rfc3339

Status = Callable[[], list[dict[str, object]]]


class ControlServer:
    """`GET /clock`, `POST /clock {"advance": …} | {"to": …}`, `GET|POST /clock/parts`, `GET /status`."""

    def __init__(self, port: int, status: Status, barrier: Callable[[], Barrier | None]) -> None:
        self._status = status
        self._barrier = barrier
        self._server = ThreadingHTTPServer((LOOPBACK, port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True, kwargs={"poll_interval": 0.1})

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, path: str, content: dict[str, Any]) -> tuple[int, object]:
        """Status and JSON for a request."""
        if (method, path) == ("GET", "/status"):
            return 200, self._status()
        barrier = self._barrier()
        if barrier is None:
            return 409, {"error": "this street lives by the system's clock, or its ledger is not there yet"}
        if (method, path) == ("GET", "/clock"):
            return 200, {"now": rfc3339(barrier.now_ms())}
        if (method, path) == ("GET", "/clock/parts"):
            return 200, [{**asdict(seen), "owns": sorted(seen.owns)} for seen in barrier.last_round()]
        if (method, path) == ("POST", "/clock/parts"):
            barrier.invite(str(content["name"]), content["url"])
            return 200, {}
        if (method, path) == ("POST", "/clock"):
            return self._advance(barrier, content)
        return 404, {"error": f"no {method} {path} here"}

    def _advance(self, barrier: Barrier, content: dict[str, Any]) -> tuple[int, object]:
        if "advance" in content:
            target_ms = barrier.now_ms() + duration_ms(content["advance"])
        elif "to" in content:
            target_ms = ms_from_rfc3339(content["to"])
        else:
            return 400, {"error": 'say {"advance": "PT6H"} or {"to": "2026-10-01T06:00:00Z"}'}
        if target_ms < barrier.now_ms():
            return 400, {"error": "a clock does not go back"}
        try:
            reached_ms = barrier.advance_to(target_ms, float(content.get("patience_seconds", DEFAULT_PATIENCE_SECONDS)))
        except Restless as restless:
            return 504, {"error": str(restless), "now": rfc3339(barrier.now_ms())}
        return 200, {"now": rfc3339(reached_ms)}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        control = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # the name that http.server looks for
                self._reply("GET")

            def do_POST(self) -> None:  # the name that http.server looks for
                self._reply("POST")

            def _reply(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    status, content = control.answer(method, self.path, json.loads(body) if body else {})
                except (ValueError, KeyError, TypeError) as error:
                    status, content = 400, {"error": f"{type(error).__name__}: {error}"}
                answer = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """The street's progress is told elsewhere."""

        return Handler
