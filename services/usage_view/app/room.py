"""The room as one process: the doors in a thread with an event loop, probes in another, the ledger and the broker beside."""

from __future__ import annotations

from services.usage_view.adapters.ends import BrokerEnds
from services.usage_view.adapters.keys import key_ring
from services.usage_view.app.doors import DOORS, OPEN_DOORS, Doors, application
from services.usage_view.app.events import EventsDoor
from services.usage_view.app.links import LinksDoor
from services.usage_view.app.page import PageDoor
from services.usage_view.app.reading import Bills
from services.usage_view.app.usage import UsageDoor
from services.usage_view.config import Settings
from services.usage_view.metrics import registry as metrics_of
from trueup.ledger.access.admission import Access
from trueup.ledger.access.threads import LedgerThreads
from trueup.runtime import log
from trueup.runtime.clock import clock_from
from trueup.runtime.http.gate import Gate
from trueup.runtime.http.serving import Serving
from trueup.runtime.loop import Stop
from trueup.runtime.web import Activity, Health, RoomServer

LOOK_SECONDS = 0.2


class UsageView:
    """All parts of the room, put together."""

    def __init__(self, settings: Settings, secrets: tuple[bytes, ...]) -> None:
        clock = clock_from(settings.clock)
        registry = metrics_of(settings.room)
        self._keys = key_ring(settings, clock, registry)
        self._ledger = LedgerThreads(settings.postgres_dsn, settings.room, settings.usage_statement_seconds)
        self._ends = BrokerEnds(settings, clock, registry)
        access = Access(self._keys, settings.usage_requests_of_key)
        bills = Bills(settings, self._ledger, self._ends, clock, registry)
        self._links = LinksDoor(settings, secrets[0], access, bills, clock, registry)
        page = PageDoor(secrets, bills, clock, registry)
        doors = Doors(UsageDoor(access, bills), EventsDoor(access, self._ledger, clock), self._links, page)
        self._gate = Gate(application(doors, self.ready), registry, settings.usage_requests, DOORS, OPEN_DOORS)
        self._serving = Serving(self._gate, settings.http_host, settings.usage_port, settings.usage_header_seconds)
        # Without an address of their own, links name where this very process listens.
        self._links.base_url = self._links.base_url or f"http://{settings.http_host}:{self._serving.port}"
        self._probes = RoomServer(settings.http_port, registry, self.live, self.ready, self.activity, host=settings.http_host)
        self._log = log.get("usage-view")

    def run(self, stop: Stop) -> None:
        """Serve until asked to stop."""
        self._keys.start()
        self._probes.start()
        self._serving.start()
        self._log.info("the doors are open", port=self._serving.port)
        try:
            while not stop.wait(LOOK_SECONDS):
                if not self.live().ok:
                    raise RuntimeError("the doors' server ended by itself")
        finally:
            # First nobody comes in any more and those inside get their answers; then what answered them ends.
            self._serving.stop()
            self._keys.stop()
            self._ledger.stop()
            self._ends.stop()
            self._probes.stop()

    def live(self) -> Health:
        """Whether the doors are served."""
        return self._serving.health()

    def ready(self) -> Health:
        """Whether questions can be answered: the keys come from the same ledger as the answers."""
        return self._keys.health()

    def activity(self) -> Activity:
        """At rest when no request is in hand. The room does nothing by itself at any date."""
        in_hand = self._gate.in_hand
        return Activity(not in_hand, self._gate.work, None, (), f"{in_hand} requests in hand" if in_hand else "idle")
