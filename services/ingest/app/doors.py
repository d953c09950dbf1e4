"""Every path of the room, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Litestar, Request, Response, get, post, put

from services.ingest.app import openapi
from services.ingest.app.customers import CustomersDoor
from services.ingest.app.events import EventsDoor
from services.ingest.app.flushes import FlushDoor
from services.ingest.app.webhooks import WebhooksDoor
from trueup.runtime.http.application import application as make_application
from trueup.runtime.web import Health

DOORS = (("/v1/events/", "event"), ("/v1/events", "events"), ("/webhooks/stripe", "webhooks"), ("/v1/customers/", "customers"))
OPEN_DOORS = ("webhooks",)
"""Nobody needs a key to knock there."""


def application(
    events: EventsDoor, webhooks: WebhooksDoor, customers: CustomersDoor, flushes: FlushDoor, ready: Callable[[], Health]
) -> Litestar:
    """The doors as one application. Each reads its own body: nothing is parsed before the key is known and the size is."""

    @post("/v1/events", status_code=202)
    async def post_events(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await events.post(request)

    @get("/v1/events/{address:path}")
    async def get_event(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await events.get(request)

    @put("/v1/customers/{address:path}")
    async def put_customer(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await customers.put(request)

    # A customer's id may hold a slash, so the door itself looks at the path.
    @post("/v1/customers/{address:path}", status_code=200)
    async def post_flush(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await flushes.post(request)

    @post("/webhooks/stripe", status_code=200)
    async def post_webhook(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await webhooks.post(request)

    return make_application([post_events, get_event, put_customer, post_flush, post_webhook], openapi.document, ready)
