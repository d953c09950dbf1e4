"""Doors served by uvicorn in a thread of their own, beside the room's other work."""

from __future__ import annotations

import socket
import threading

import uvicorn

from trueup.runtime.http.gate import Gate
from trueup.runtime.http.patience import configured
from trueup.runtime.web import Health

BACKLOG = 512


class Serving:
    """An event loop that answers requests. The port is taken at once: one that is taken already ends the room before anything began."""

    def __init__(self, gate: Gate, host: str, port: int, header_seconds: float) -> None:
        self._socket = listening(host, port)
        self._server = uvicorn.Server(configured(gate, header_seconds))
        self._thread = threading.Thread(target=lambda: self._server.run(sockets=[self._socket]), name="doors")

    @property
    def port(self) -> int:
        """Where the doors are."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Open."""
        self._thread.start()

    def stop(self) -> None:
        """Let nobody in any more; return when those inside have their answers."""
        self._server.should_exit = True
        self._thread.join()

    def health(self) -> Health:
        """Whether the doors are served."""
        alive = self._thread.is_alive()
        return Health(alive, "the doors are served" if alive else "the doors' server ended")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((host, port))
    found.listen(BACKLOG)
    return found
