"""The life of one request: allowed in, troubled, recognized, executed, written down, answered."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devstack.stripe_emulator import cycle, errors, meter_events, test_clocks
from devstack.stripe_emulator.agenda import Agenda
from devstack.stripe_emulator.call import API_VERSION, Call, Route, object_id
from devstack.stripe_emulator.clock import Clock
from devstack.stripe_emulator.faults import BEFORE, Fault
from devstack.stripe_emulator.forms import Parameters, parse_form
from devstack.stripe_emulator.journal import Journal, Record
from devstack.stripe_emulator.request_log import Entry, RequestLog
from devstack.stripe_emulator.routes import route_of
from devstack.stripe_emulator.state import State

_METER_EVENTS = "/v1/billing/meter_events"
_LONGEST_KEY = 255
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Request:
    """What came in over the wire."""

    method: str
    path: str
    query: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class Reply:
    """What goes out, or that nothing does and the connection is cut."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    dropped: bool = False


@dataclass(slots=True)
class _Attempt:
    """A request that was let in, with what it asks for and the fault that it met."""

    request: Request
    request_id: str
    entry: Entry
    route: Route
    argument: str
    tree: dict[str, Any]
    key: str | None
    fault: Fault | None = None
    fault_number: int = 0
    fault_used: bool = False

    @property
    def kind(self) -> str | None:
        """The kind of the fault."""
        return None if self.fault is None else self.fault.kind

    def fingerprint(self) -> str:
        """Name what is asked for, whatever the order and the encoding of its parameters."""
        asked = json.dumps([self.request.method, self.request.path, self.tree], sort_keys=True)
        return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()

    def use_fault(self) -> Record:
        """Make the record that uses the fault up."""
        self.fault_used = True
        return {"record": "fault_used", "number": self.fault_number}


class Pipeline:
    """Answers requests one by one; between reading the state and writing the journal nothing else runs."""

    def __init__(self, state: State, journal: Journal, clock: Clock, api_key: str | None) -> None:
        self.state = state
        self.journal = journal
        self.clock = clock
        self.log = RequestLog()
        self.in_flight = 0
        self.answered = 0
        self.steps = 0
        # Set whenever there is something to tell, so that whoever delivers webhooks need not wait for its next look.
        self.stirred = asyncio.Event()
        self._api_key = api_key
        self._keys_in_flight: set[str] = set()
        self._lanes_in_flight: set[tuple[str, str]] = set()
        self._second = 0
        self._events_this_second = 0

    async def serve(self, request: Request) -> Reply:
        """Answer one request of Stripe's API."""
        entry = self.log.open(request.method, request.path, self.clock.now_ms())
        request_id = object_id("req")
        self.in_flight += 1
        try:
            reply = await self._answer(request, entry, request_id)
        except errors.StripeError as error:
            entry.message = error.message
            reply = Reply(error.status, json.dumps(error.body()), dict(error.headers))
        finally:
            self.in_flight -= 1
            self.answered += 1
        reply.headers["Request-Id"] = request_id
        reply.headers["Stripe-Version"] = request.headers.get("Stripe-Version") or API_VERSION
        key = request.headers.get("Idempotency-Key")
        if key is not None:
            reply.headers.setdefault("Original-Request", request_id)
            reply.headers["Idempotency-Key"] = key
        self.log.close(entry, "dropped" if reply.dropped else str(reply.status))
        return reply

    def commit(self, records: list[Record]) -> None:
        """Write records down, then let them take effect: after a kill, the journal is the truth."""
        if records:
            self.journal.write(records)
            self.state.apply(records)
            if any(record["record"] == "event" for record in records):
                self.stirred.set()

    def catch_up(self) -> None:
        """Do what has fallen due on the street's clock, each thing as of its date and none before a webhook that is due earlier."""
        now_ms, agenda = self.clock.now_ms(), self.state.agendas[""]
        while (due := agenda.first()) is not None and due.at_ms <= now_ms:
            delivery = self.state.deliveries.first()
            if delivery is not None and delivery.at_ms < due.at_ms:
                return
            self.commit(cycle.step(self.state, due, now_ms))
            self.steps += 1
        self._advance_test_clocks(now_ms)

    def _advance_test_clocks(self, street_ms: int) -> None:
        """Do on each advancing test clock what lies before its target, and let it stand there."""
        for clock in [clock for clock in self.state.objects.get("test_clock", {}).values() if clock["status"] == "advancing"]:
            target_ms = clock["status_details"]["advancing"]["target_frozen_time"] * 1000
            agenda = self.state.agendas.get(clock["id"], Agenda())
            while (due := agenda.first()) is not None and due.at_ms <= target_ms:
                self.commit(cycle.step(self.state, due, street_ms))
            self.commit(test_clocks.arrived(self.state, clock, street_ms))
            self.steps += 1

    async def _answer(self, request: Request, entry: Entry, request_id: str) -> Reply:
        self._authorize(request.headers.get("Authorization", ""))
        route, argument = route_of(request.method, request.path)
        entry.endpoint = f"{route.method} {route.path}"
        text = _body_text(request)
        tree = parse_form(request.query if request.method in ("GET", "DELETE") else text)
        entry.parameters = tree
        key = entry.idempotency_key = _idempotency_key(request)
        self._limit_rate(request.path)
        attempt = _Attempt(request, request_id, entry, route, argument, tree, key if request.method == "POST" else None)
        self._meet_fault(attempt, text or request.query)
        try:
            return self._fail_before(attempt) if attempt.kind in BEFORE else await self._recognize(attempt)
        finally:
            # A request that was refused or replayed gave a fault no occasion.
            if attempt.fault is not None and not attempt.fault_used:
                self.state.faults.give_back(attempt.fault_number)
                entry.fault = None

    def _meet_fault(self, attempt: _Attempt, text: str) -> None:
        request, identifier = attempt.request, attempt.tree.get("identifier")
        subject = identifier if isinstance(identifier, str) else str(attempt.entry.number)
        held = self.state.faults.hold(request.method, request.path, text, subject)
        if held is not None:
            attempt.fault_number, attempt.fault = held
            attempt.entry.fault = attempt.kind

    def _authorize(self, header: str) -> None:
        scheme, _, credentials = header.partition(" ")
        if scheme == "Basic":
            credentials = base64.b64decode(credentials + "===").decode(errors="replace").partition(":")[0]
        if scheme not in ("Bearer", "Basic") or not credentials.strip():
            raise errors.no_key()
        key = credentials.strip()
        if key != self._api_key if self._api_key else not key.startswith(("sk_test_", "rk_test_")):
            raise errors.wrong_key(key)

    def _limit_rate(self, path: str) -> None:
        """Count calls per second of the machine's monotonic clock: a rate is a wait, not a date."""
        most = self.state.switches.rate_limit_per_second
        if most is None or path != _METER_EVENTS:
            return
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._events_this_second = second, 0
        self._events_this_second += 1
        if self._events_this_second > most:
            raise errors.rate_limited()

    def _fail_before(self, attempt: _Attempt) -> Reply:
        """Fail without doing anything; a 500 may still be saved under the key, if the fault says so."""
        records = [attempt.use_fault()]
        failure = _failure()
        if attempt.kind == "500_before" and attempt.fault is not None and attempt.fault.stores_answer():
            records += self._saved(attempt, failure)
        self.commit(records)
        if attempt.kind == "500_before":
            return failure
        if attempt.kind == "drop_before":
            return Reply(0, "", dropped=True)
        raise errors.lock_timeout() if attempt.kind == "lock_timeout" else errors.rate_limited()

    async def _recognize(self, attempt: _Attempt) -> Reply:
        """Answer from memory what was answered before; let no two requests run under one key."""
        key = attempt.key
        if key is None:
            return await self._take_lane(attempt)
        if key in self._keys_in_flight:
            raise errors.key_in_use(key)
        saved = self.state.answers.find(key, self.clock.now_ms(), self.state.switches.idempotency_window_seconds * 1000)
        if saved is not None:
            if saved.fingerprint != attempt.fingerprint():
                raise errors.key_used_with_other_parameters(key)
            attempt.entry.replayed = True
            return Reply(saved.status, saved.body, {"Idempotent-Replayed": "true", "Original-Request": saved.request_id})
        self._keys_in_flight.add(key)
        try:
            return await self._take_lane(attempt)
        finally:
            self._keys_in_flight.discard(key)

    async def _take_lane(self, attempt: _Attempt) -> Reply:
        """Keep two meter events of one customer and meter from being in flight together."""
        lane = meter_events.lane_of(self.state, attempt.tree) if attempt.request.path == _METER_EVENTS else None
        answer = self.state.switches.concurrent_answer
        if lane is None or answer == "off":
            return await self._take_time(attempt)
        if lane in self._lanes_in_flight:
            raise errors.concurrent_usage(int(answer))
        self._lanes_in_flight.add(lane)
        try:
            return await self._take_time(attempt)
        finally:
            self._lanes_in_flight.discard(lane)

    async def _take_time(self, attempt: _Attempt) -> Reply:
        """Let the request be in flight for as long as the switch or a fault says."""
        seconds = self.state.switches.latency_seconds
        if attempt.fault is not None and attempt.kind == "delay":
            self.commit([attempt.use_fault()])
            seconds += attempt.fault.seconds
        if seconds:
            await asyncio.sleep(seconds)
        return self._execute(attempt)

    def _execute(self, attempt: _Attempt) -> Reply:
        """Do the work, write it down together with the answer, and only then answer."""
        route, tree = attempt.route, dict(attempt.tree)
        expand = _expansions(route, tree)
        tree.pop("expand", None)
        parameters = Parameters(tree, accepts=route.accepts, requires=route.requires)
        self.catch_up()
        rejects = attempt.kind == "reject"
        now_ms = self.clock.now_ms()
        call = Call(self.state, now_ms, parameters, attempt.argument, rejects=rejects, expand=expand, idempotency_key=attempt.key)
        answer = route.endpoint(call)
        reply = _failure() if attempt.kind == "500_after" else Reply(200, json.dumps(answer.body))
        records = list(answer.records)
        if attempt.fault is not None and attempt.kind != "delay":
            records.append(attempt.use_fault())
        if attempt.kind != "500_after" or (attempt.fault is not None and attempt.fault.stores_answer()):
            records += self._saved(attempt, reply)
        self.commit(records)
        attempt.entry.executed = True
        reply.dropped = attempt.kind == "drop_after"
        return reply

    def _saved(self, attempt: _Attempt, reply: Reply) -> list[Record]:
        """Make the record that keeps an answer under its idempotency key, where there is one."""
        if attempt.key is None:
            return []
        return [
            {
                "record": "saved_answer",
                "key": attempt.key,
                "fingerprint": attempt.fingerprint(),
                "status": reply.status,
                "body": reply.body,
                "request_id": attempt.request_id,
                "saved_ms": self.clock.now_ms(),
            }
        ]


def _failure() -> Reply:
    return Reply(500, json.dumps(errors.server_error().body()))


def _body_text(request: Request) -> str:
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if request.body and content_type != _FORM:
        raise errors.StripeError(
            f"Invalid request (check that your POST content type is {_FORM}). If you have any questions, we can help at https://support.stripe.com/."
        )
    try:
        return request.body.decode()
    except UnicodeDecodeError as error:
        raise errors.StripeError("Invalid UTF-8 in the request") from error


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and len(key) > _LONGEST_KEY:
        raise errors.StripeError(f"Idempotency keys can be at most {_LONGEST_KEY} characters long.", kind="idempotency_error")
    return key


def _expansions(route: Route, tree: dict[str, Any]) -> frozenset[str]:
    """Give what is to be shown in full, or refuse what can't be."""
    wished = tree.get("expand", {})
    names = list(wished.values()) if isinstance(wished, dict) else [wished]
    for name in names:
        if not isinstance(name, str) or name not in route.expands:
            raise errors.StripeError(f"This property cannot be expanded ({name}).", parameter="expand")
    return frozenset(names)
