"""Every path of the room, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from services.usage_view.app import openapi, page
from services.usage_view.app.events import EventsDoor
from services.usage_view.app.links import LinksDoor
from services.usage_view.app.page import PageDoor
from services.usage_view.app.usage import UsageDoor
from trueup.contracts.errors import Transient
from trueup.contracts.problems import Refused
from trueup.runtime.http import answers
from trueup.runtime.http.answers import in_json
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

    handlers: dict[type[Exception], Callable[..., Response[bytes]]] = {
        Refused: answers.refused,
        Transient: answers.away,
        HTTPException: answers.by_the_router,
        Exception: answers.unforeseen,
    }
    return Litestar(
        [get_customer, post_link, get_page, *_described_and_probed(ready)],
        exception_handlers=cast(Any, handlers),
        # The document is written by hand: the doors read their requests themselves, so nothing could be derived from their signatures.
        openapi_config=None,
        request_max_body_size=None,
        debug=False,
        logging_config=None,
    )


def _described_and_probed(ready: Callable[[], Health]) -> list[HTTPRouteHandler]:
    """What needs no key: the description, and whether to send anything here at all."""

    @get("/openapi.json")
    async def get_openapi() -> Response[bytes]:
        return in_json(200, openapi.document())

    @get("/livez")
    async def get_livez() -> Response[bytes]:
        return in_json(200, {"ok": True})

    @get("/readyz")
    async def get_readyz() -> Response[bytes]:
        ok = ready().ok
        return in_json(200 if ok else 503, {"ok": ok})

    return [get_openapi, get_livez, get_readyz]
