"""An application of doors: how they refuse and fail, and what stands beside them without a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from litestar import Litestar, Response, get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from trueup.contracts.errors import Transient
from trueup.contracts.problems import Refused
from trueup.runtime.http import answers
from trueup.runtime.http.answers import in_json
from trueup.runtime.web import Health


def application(doors: Sequence[HTTPRouteHandler], document: Callable[[], Mapping[str, Any]], ready: Callable[[], Health]) -> Litestar:
    """The doors as one application. Each reads its own request: nothing is parsed before the key is known and the size is."""
    handlers: dict[type[Exception], Callable[..., Response[bytes]]] = {
        Refused: answers.refused,
        Transient: answers.away,
        HTTPException: answers.by_the_router,
        Exception: answers.unforeseen,
    }
    return Litestar(
        [*doors, *_described_and_probed(document, ready)],
        exception_handlers=cast(Any, handlers),
        # The document is written by hand: the doors read their requests themselves, so nothing could be derived from their signatures.
        openapi_config=None,
        request_max_body_size=None,
        debug=False,
        logging_config=None,
    )


def _described_and_probed(document: Callable[[], Mapping[str, Any]], ready: Callable[[], Health]) -> list[HTTPRouteHandler]:
    """What needs no key: the description, and whether to send anything here at all."""

    @get("/openapi.json")
    async def get_openapi() -> Response[bytes]:
        return in_json(200, document())

    @get("/livez")
    async def get_livez() -> Response[bytes]:
        return in_json(200, {"ok": True})

    @get("/readyz")
    async def get_readyz() -> Response[bytes]:
        ok = ready().ok
        return in_json(200 if ok else 503, {"ok": ok})

    return [get_openapi, get_livez, get_readyz]
