"""The room as one process: the doors in a thread with an event loop, probes in another, everything else beside."""

from __future__ import annotations

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
from trueup.runtime.http.serving import Serving
from trueup.runtime.loop import Stop
from trueup.runtime.web import Activity, Health, RoomServer

LOOK_SECONDS = 0.2


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
        self._serving = Serving(self._gate, settings.http_host, settings.ingest_port, settings.ingest_header_seconds)
        self._probes = RoomServer(settings.http_port, registry, self.live, self.ready, self.activity, host=settings.http_host)
        self._log = log.get("ingest")

    @property
    def port(self) -> int:
        """Where the doors are."""
        return self._serving.port

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
            self._serving.stop()
            for part in reversed(parts):
                part.stop()
            self._ledger.stop()
            self._ends.stop()
            self._probes.stop()

    def _raise_failures(self) -> None:
        for part in (self._broker, self._catalogue):
            if part.failure is not None:
                raise part.failure
        if not self.live().ok:
            raise RuntimeError("the doors' server ended by itself")

    def live(self) -> Health:
        """Whether the doors are served."""
        return self._serving.health()

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
