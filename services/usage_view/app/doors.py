"""Every path of the room, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from litestar import Litestar, Request, Response, get, post

from services.usage_view.app import openapi, page
from services.usage_view.app.events import EventsDoor
from services.usage_view.app.links import LinksDoor
from services.usage_view.app.page import PageDoor
from services.usage_view.app.usage import UsageDoor
from trueup.contracts.problems import Refused
from trueup.runtime.http.application import application as make_application
from trueup.runtime.http.head import NO_SUCH_PATH, segments
from trueup.runtime.web import Health

CUSTOMERS = "/v1/customers/"
DOORS = ((CUSTOMERS, "customers"), ("/v1/customer-links", "links"), ("/customers/", "pages"))
OPEN_DOORS = ("pages",)
"""Nobody needs a key to knock there."""


@dataclass(frozen=True, slots=True)
class Doors:
    """One of each."""

    usage: UsageDoor
    events: EventsDoor
    links: LinksDoor
    page: PageDoor


def application(doors: Doors, ready: Callable[[], Health]) -> Litestar:
    """The doors as one application. Nothing is parsed before the key is known and the size is."""

    @get("/v1/customers/{address:path}")
    async def get_customer(request: Request[Any, Any, Any]) -> Response[bytes]:
        # A customer's id may hold a slash, so the door itself looks at the path.
        parts = segments(request.scope, CUSTOMERS)
        if len(parts) == 2 and parts[1] == "usage":
            return await doors.usage.get(request, parts[0])
        if len(parts) == 2 and parts[1] == "events":
            return await doors.events.get(request, parts[0])
        raise Refused(NO_SUCH_PATH)

    @post("/v1/customer-links", status_code=201)
    async def post_link(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await doors.links.post(request)

    @get("/customers/{address:path}")
    async def get_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        parts = segments(request.scope, page.PATH)
        if len(parts) != 1:
            raise Refused(NO_SUCH_PATH)
        return await doors.page.get(request, parts[0])

    return make_application([get_customer, post_link, get_page], openapi.document, ready)
