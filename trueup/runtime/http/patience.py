"""HTTP/1.1 as uvicorn speaks it, with an end to its patience for heads that never come."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 1_000


def protocol(header_seconds: float) -> type[asyncio.Protocol]:
    """A protocol that hangs up on whoever takes longer than this for the head of a request, the first one or a later one."""

    class PatientProtocol(H11Protocol):
        """uvicorn waits for ever for the first head, and for a next one as soon as one byte of it came."""

        _hanging_up: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > MOST_CONNECTIONS:
                self.transport.close()
                return
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            super().connection_lost(exc)

        def _watch(self) -> None:
            answering = self.cycle is not None and not self.cycle.response_complete
            if answering or self.transport.is_closing():
                self._stop_watching()
            elif self._hanging_up is None:
                self._hanging_up = self.loop.call_later(header_seconds, self._hang_up)

        def _stop_watching(self) -> None:
            if self._hanging_up is not None:
                self._hanging_up.cancel()
                self._hanging_up = None

        def _hang_up(self) -> None:
            self._hanging_up = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return PatientProtocol


def configured(app: Any, header_seconds: float) -> uvicorn.Config:
    """The server's settings, each with its reason."""
    return uvicorn.Config(
        app,
        http=protocol(header_seconds),
        # Nothing here upgrades.
        ws="none",
        lifespan="off",
        loop="asyncio",
        # Our own lines go through our own log; a line for each request would bury them.
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=20,
        # A head larger than this is answered 400 before anything looks at it.
        h11_max_incomplete_event_size=16 * 1024,
        backlog=512,
    )
