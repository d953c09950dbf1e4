"""The web server: Stripe's addresses go to the pipeline, the emulator's own to the control doors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from devstack.stripe_emulator import control
from devstack.stripe_emulator.clock import Clock
from devstack.stripe_emulator.journal import Journal
from devstack.stripe_emulator.pipeline import Pipeline, Request
from devstack.stripe_emulator.postman import Postman
from devstack.stripe_emulator.state import State
from devstack.stripe_emulator.switches import Switches

_LARGEST_BODY = 1_048_576
_LONGEST_LAG_SECONDS = {True: 3600.0, False: 2.0}


def open_pipeline(data_dir: Path, clock: Clock, api_key: str | None) -> Pipeline:
    """Open the journal, live through it again, and stand ready."""
    journal = Journal(data_dir / "journal.jsonl")
    # An hour of the simulated clock passes in no time; a person at the machine's own clock should not wait for one.
    state = State(Switches(aggregation_lag_maximum_seconds=_LONGEST_LAG_SECONDS[clock.simulated]))
    state.apply(journal.replay())
    return Pipeline(state, journal, clock, api_key)


def application(pipeline: Pipeline) -> web.Application:
    """Make the web application."""
    app = web.Application(client_max_size=_LARGEST_BODY)
    app.cleanup_ctx.append(lambda _: _delivering(pipeline))
    doors = _Doors(pipeline)
    app.add_routes(
        [
            web.get("/livez", doors.healthy),
            web.get("/readyz", doors.healthy),
            web.get("/_emulator/books", doors.reading(lambda request: control.books(pipeline.state))),
            web.get("/_emulator/activity", doors.reading(lambda request: control.activity(pipeline))),
            web.get("/_emulator/requests", doors.reading(doors.requests)),
            web.get("/_emulator/settings", doors.reading(lambda request: pipeline.state.settings())),
            web.post("/_emulator/settings", doors.writing(lambda request, wish: control.set_switches(pipeline, wish))),
            web.get("/_emulator/faults", doors.reading(lambda request: {"faults": pipeline.state.faults.remaining()})),
            web.post("/_emulator/faults", doors.writing(lambda request, wish: control.order_faults(pipeline, wish))),
            web.delete("/_emulator/faults", doors.reading(lambda request: control.clear_faults(pipeline))),
            web.get("/_emulator/deliveries", doors.reading(lambda request: control.deliveries(pipeline.state))),
            web.post("/_emulator/roll_secret", doors.writing(lambda request, wish: control.roll_secret(pipeline, wish))),
            web.post("/_emulator/{noun}", doors.writing(lambda request, wish: control.set_up(pipeline, request.match_info["noun"], wish))),
            web.route("*", "/{address:.*}", doors.stripe),
        ]
    )
    return app


async def _delivering(pipeline: Pipeline) -> AsyncIterator[None]:
    """Deliver webhooks for as long as the server runs; a postman who fails takes the emulator with him."""
    task = asyncio.create_task(Postman(pipeline).run())
    task.add_done_callback(_end_with)
    yield
    task.remove_done_callback(_end_with)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _end_with(task: asyncio.Task[None]) -> None:
    failure = task.exception()
    if failure is not None:
        traceback.print_exception(failure)
        os._exit(1)


_Reader = Callable[[web.Request], dict[str, Any]]
_Writer = Callable[[web.Request, Any], dict[str, Any]]
_Handler = Callable[[web.Request], Any]


class _Doors:
    """What aiohttp calls."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def healthy(self, request: web.Request) -> web.Response:
        """Answer the supervisor: who listens has read its journal."""
        del request
        return web.json_response({"ok": True, "why": ""})

    def requests(self, request: web.Request) -> dict[str, Any]:
        """Show the request log."""
        query = request.query
        return self._pipeline.log.shown(query.get("path"), int(query.get("after", "0")), int(query.get("limit", "1000")))

    def reading(self, read: _Reader) -> _Handler:
        """Make a door that needs no body."""

        async def handle(request: web.Request) -> web.Response:
            try:
                return web.json_response(read(request))
            except ValueError as error:
                return web.json_response({"error": str(error)}, status=400)

        return handle

    def writing(self, write: _Writer) -> _Handler:
        """Make a door that takes a JSON body."""

        async def handle(request: web.Request) -> web.Response:
            try:
                return web.json_response(write(request, json.loads(await request.read())))
            except (control.Refused, ValueError) as error:
                return web.json_response({"error": str(error)}, status=400)

        return handle

    async def stripe(self, request: web.Request) -> web.Response:
        """Answer for Stripe, or cut the connection."""
        body = await request.read()
        reply = await self._pipeline.serve(Request(request.method, request.path, request.query_string, body, request.headers))
        if reply.dropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        return web.Response(status=reply.status, text=reply.body, content_type="application/json", headers=reply.headers)


def serve(host: str, port: int, pipeline: Pipeline) -> None:
    """Serve until told to stop."""
    with contextlib.closing(pipeline.journal):
        web.run_app(application(pipeline), host=host, port=port, access_log=None, print=None, handle_signals=True)
