"""The room as one process: the doors in a thread with an event loop, probes in another, everything else beside."""

from __future__ import annotations

import socket
import threading

import uvicorn

from services.ingest.adapters.broker import Broker
from services.ingest.adapters.catalogue import FollowedCatalogue
from services.ingest.adapters.ends import SourceEnds
from services.ingest.adapters.keys import LedgerKeyRing
from services.ingest.app.customers import CustomersDoor
from services.ingest.app.doors import DOORS, OPEN_DOORS, application
from services.ingest.app.events import EventsDoor
from services.ingest.app.flushes import FlushDoor
from services.ingest.app.webhooks import WebhooksDoor
from services.ingest.config import Settings
from services.ingest.metrics import registry as metrics_of
from trueup.ledger.access.admission import Access
from trueup.ledger.access.threads import LedgerThreads
from trueup.runtime import log
from trueup.runtime.clock import clock_from
from trueup.runtime.http.gate import Gate
from trueup.runtime.http.patience import configured
from trueup.runtime.loop import Stop
from trueup.runtime.web import Activity, Health, RoomServer

LOOK_SECONDS = 0.2
BACKLOG = 512


class Ingest:
    """All parts of the room, put together."""

    def __init__(self, settings: Settings) -> None:
        clock = clock_from(settings.clock)
        registry = metrics_of(settings.room)
        self._broker = Broker(settings, clock, registry)
        self._catalogue = FollowedCatalogue(settings, registry)
        self._keys = LedgerKeyRing(settings, clock, registry)
        self._ledger = LedgerThreads(settings.postgres_dsn, settings.room)
        access = Access(self._keys, settings.ingest_requests_of_key)
        events = EventsDoor(settings, access, self._broker, self._catalogue, self._ledger, clock, registry)
        webhooks = WebhooksDoor(settings, self._broker, self._keys, clock, registry)
        customers = CustomersDoor(settings, access, self._ledger)
        self._ends = SourceEnds(settings)
        flushes = FlushDoor(settings, access, self._ledger, self._ends)
        self._gate = Gate(
            application(events, webhooks, customers, flushes, self.ready), registry, settings.ingest_requests, DOORS, OPEN_DOORS
        )
        self._socket = listening(settings.http_host, settings.ingest_port)
        self._server = uvicorn.Server(configured(self._gate, settings.ingest_header_seconds))
        self._serving = threading.Thread(target=lambda: self._server.run(sockets=[self._socket]), name="doors")
        self._probes = RoomServer(settings.http_port, registry, self.live, self.ready, self.activity, host=settings.http_host)
        self._log = log.get("ingest")

    @property
    def port(self) -> int:
        """Where the doors are."""
        return int(self._socket.getsockname()[1])

    def run(self, stop: Stop) -> None:
        """Serve until asked to stop, or until a part of the room is past going on."""
        parts = (self._broker, self._catalogue, self._keys)
        for part in parts:
            part.start()
        self._probes.start()
        self._serving.start()
        self._log.info("the doors are open", port=self.port)
        try:
            while not stop.wait(LOOK_SECONDS):
                self._raise_failures()
        finally:
            # First nobody comes in any more and those inside get their answers; then what answered them ends.
            self._server.should_exit = True
            self._serving.join()
            for part in reversed(parts):
                part.stop()
            self._ledger.stop()
            self._ends.stop()
            self._probes.stop()

    def _raise_failures(self) -> None:
        for part in (self._broker, self._catalogue):
            if part.failure is not None:
                raise part.failure
        if not self._serving.is_alive():
            raise RuntimeError("the doors' server ended by itself")

    def live(self) -> Health:
        """Whether the doors are served."""
        return Health(self._serving.is_alive(), "the doors are served" if self._serving.is_alive() else "the doors' server ended")

    def ready(self) -> Health:
        """Whether usage can be taken now."""
        healths = (self._broker.health(), self._catalogue.health(), self._keys.health())
        return Health(all(health.ok for health in healths), "; ".join(health.why for health in healths))

    def activity(self) -> Activity:
        """At rest when no request is in hand, and no record's fate is open."""
        in_hand, unacknowledged = self._gate.in_hand, self._broker.unacknowledged
        idle = not in_hand and not unacknowledged
        why = "idle" if idle else f"{in_hand} requests in hand, {unacknowledged} records unacknowledged"
        return Activity(idle, self._gate.work, None, (), why)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens already, so that a port that is taken ends the room before anything else began."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((host, port))
    found.listen(BACKLOG)
    return found
