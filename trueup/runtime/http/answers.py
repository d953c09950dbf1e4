"""Answers in JSON, and what goes wrong as a problem."""

from __future__ import annotations

import json
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from trueup.contracts.errors import Transient
from trueup.contracts.problems import MEDIA_TYPE, Problem, Refused, unavailable
from trueup.runtime import log
from trueup.runtime.http.gate import INSTANCE

RETRY_AFTER_SECONDS = 2
AnyRequest = Request[Any, Any, Any]


def in_json(status: int, content: object) -> Response[bytes]:
    """An answer that is no problem."""
    return Response(json.dumps(content).encode(), status_code=status, media_type="application/json")


def a_problem(request: AnyRequest, problem: Problem) -> Response[bytes]:
    """An answer that refuses."""
    body = problem.body(str(request.scope.get(INSTANCE, "")))
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=dict(problem.headers))


def refused(request: AnyRequest, refusal: Refused) -> Response[bytes]:
    """What a door decided."""
    return a_problem(request, refusal.problem)


def away(request: AnyRequest, transient: Transient) -> Response[bytes]:
    """What stands behind the door does not answer. The reason is for our log, not for strangers."""
    log.get("doors").warning(str(transient), path=request.scope["path"][:200])
    return a_problem(request, unavailable("ask again; what is sent again with the same ids counts once", RETRY_AFTER_SECONDS).problem)


def by_the_router(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """No such path, or not with this method."""
    kept = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return a_problem(request, Problem(error.status_code, "no-such-door", error.detail or "no such door", headers=kept))


def unforeseen(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Our own fault: logged whole, told without detail."""
    log.get("doors").error(f"{type(error).__name__}: {error}", exc_info=error, path=request.scope["path"][:200])
    return a_problem(request, Problem(500, "internal", "The door failed; nothing was called accepted"))
