"""The door for usage: nothing is called accepted before the broker has all of it."""

from __future__ import annotations

from litestar import Response

from services.ingest.config import Settings
from services.ingest.core.event_body import InForce
from services.ingest.core.request_body import Ready, media_type, read_request
from services.ingest.metrics import EVENTS, ROOM
from services.ingest.ports import CatalogueInForce, Deliveries, Ledger
from trueup.contracts.errors import Transient
from trueup.contracts.problems import Fault, Problem, Refused, forbidden
from trueup.contracts.topics import TopicNames
from trueup.ledger.access.admission import Access
from trueup.ledger.store import publisher_view
from trueup.ledger.store.api_keys import ApiKey
from trueup.ledger.store.instants import milliseconds
from trueup.ledger.store.publisher_view import Standing
from trueup.runtime.clock import Clock, rfc3339
from trueup.runtime.http.answers import AnyRequest, a_problem, in_json
from trueup.runtime.http.head import NO_SUCH_PATH, heads, read_body, segments
from trueup.runtime.metrics import Registry

WRITE, READ = "events:write", "usage:read"
PATH = "/v1/events/"


class EventsDoor:
    """`POST /v1/events` and `GET /v1/events/{source}/{id}`."""

    def __init__(
        self,
        settings: Settings,
        access: Access,
        broker: Deliveries,
        catalogue: CatalogueInForce,
        ledger: Ledger,
        clock: Clock,
        registry: Registry,
    ) -> None:
        self._settings = settings
        self._topic = TopicNames(settings.topic_prefix).usage_events
        self._access = access
        self._broker = broker
        self._catalogue = catalogue
        self._ledger = ledger
        self._clock = clock
        self._registry = registry

    async def post(self, request: AnyRequest) -> Response[bytes]:
        """Take events, all of a request or none."""
        headers = heads(request.scope["headers"])
        async with self._access.admit(headers, WRITE) as key:
            kind = media_type(headers)
            body = await read_body(request.receive, headers, self._settings.ingest_body_bytes, self._settings.ingest_body_seconds)
            now_ms = self._clock.now_ms()
            try:
                ready = read_request(kind, headers, body, InForce(self._catalogue.at(now_ms), now_ms))
                _require_sources(key, ready)
            except Refused as refusal:
                self._count("refused", refusal.events)
                raise
            try:
                await self._broker.deliver(self._topic, [(each.key, each.value) for each in ready])
            except Transient:
                self._count("unavailable", len(ready))
                raise
        self._count("accepted", len(ready))
        return in_json(202, {"accepted": len(ready)})

    async def get(self, request: AnyRequest) -> Response[bytes]:
        """Say what became of an event."""
        headers = heads(request.scope["headers"])
        async with self._access.admit(headers, WRITE, READ) as key:
            source, id_ = _address(request)
            if not key.may_write_as(source):
                raise forbidden("the key is not for this source")
            found = await self._ledger.run(lambda connection: publisher_view.standing(connection, source, id_))
        if found is None:
            return a_problem(request, _unknown())
        return in_json(200, _told(source, id_, found))

    def _count(self, outcome: str, events: int) -> None:
        self._registry.increase(EVENTS, events, room=ROOM, outcome=outcome)


def _require_sources(key: ApiKey, ready: tuple[Ready, ...]) -> None:
    faults = [
        Fault(each.pointer, "source_not_allowed", "the key may not write as this source")
        for each in ready
        if not key.may_write_as(each.source)
    ]
    if faults:
        raise forbidden("nothing of this request was taken", faults, len(ready))


def _address(request: AnyRequest) -> tuple[str, str]:
    parts = segments(request.scope, PATH)
    if len(parts) != 2:
        raise Refused(NO_SUCH_PATH)
    return parts[0], parts[1]


def _unknown() -> Problem:
    detail = "the ledger does not know it: it is on its way, or was never sent"
    return Problem(404, "unknown-event", "No such event is known", detail)


def _told(source: str, id_: str, found: Standing) -> dict[str, object]:
    told: dict[str, object] = {"source": source, "id": id_, "outcome": found.outcome.value, "duplicates": found.duplicates}
    told["conflicts"] = found.conflicts
    if found.refusal is not None:
        told["refusal"] = dict(zip(("reason", "field", "detail"), found.refusal, strict=True))
    told["steps"] = [
        {"step": step.step, "at": None if step.at is None else rfc3339(milliseconds(step.at)), "detail": step.detail}
        for step in found.steps
    ]
    return told
