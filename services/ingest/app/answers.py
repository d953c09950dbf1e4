"""Answers in JSON, and what goes wrong as a problem."""

from __future__ import annotations

import json
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from services.ingest.app.gate import INSTANCE
from services.ingest.core.problems import MEDIA_TYPE, Problem, Refused, unavailable
from trueup.contracts.errors import Transient
from trueup.runtime import log

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
    """Kafka or the ledger does not answer. The reason is for our log, not for strangers."""
    log.get("ingest").warning(str(transient), path=request.scope["path"][:200])
    detail = "not acknowledged: send it again, with the same ids; each counts once"
    return a_problem(request, unavailable(detail, RETRY_AFTER_SECONDS).problem)


def by_the_router(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """No such path, or not with this method."""
    kept = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return a_problem(request, Problem(error.status_code, "no-such-door", error.detail or "no such door", headers=kept))


def unforeseen(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Our own fault: logged whole, told without detail."""
    log.get("ingest").error(f"{type(error).__name__}: {error}", exc_info=error, path=request.scope["path"][:200])
    return a_problem(request, Problem(500, "internal", "The door failed; nothing was called accepted"))
