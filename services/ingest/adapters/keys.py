"""The keys to the doors, and with each reading of them what the ledger is of."""

from __future__ import annotations

from services.ingest.config import Settings
from trueup.contracts.errors import PipelineError, Transient
from trueup.ledger.access.key_ring import KeyRing
from trueup.ledger.migrate import require_current
from trueup.ledger.store import api_keys, deployment
from trueup.ledger.store.api_keys import ApiKey
from trueup.ledger.store.session import Connection
from trueup.runtime.clock import Clock
from trueup.runtime.metrics import Registry


class LedgerKeyRing(KeyRing):
    """The keys, and which of Stripe's modes the ledger serves."""

    def __init__(self, settings: Settings, clock: Clock, registry: Registry) -> None:
        super().__init__(
            settings.postgres_dsn, f"{settings.room}-keys", settings.ingest_keys_stale_seconds, clock, registry, self._read_all
        )
        self._livemode: bool | None = None

    def livemode(self) -> bool | None:
        """Which of Stripe's modes the ledger serves, where that was recorded."""
        return self._livemode

    def _read_all(self, connection: Connection) -> list[ApiKey]:
        try:
            require_current(connection)
        except PipelineError as fault:
            raise Transient(str(fault)) from fault
        held = deployment.held(connection)
        self._livemode = None if held is None else held.livemode
        return api_keys.every(connection)
