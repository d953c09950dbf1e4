"""The keys to the doors, read with a reader's eyes."""

from __future__ import annotations

from services.usage_view.config import Settings
from trueup.ledger.access.key_ring import KeyRing
from trueup.ledger.store import api_keys, customer_usage
from trueup.ledger.store.api_keys import ApiKey
from trueup.ledger.store.session import Connection
from trueup.runtime.clock import Clock
from trueup.runtime.metrics import Registry


def key_ring(settings: Settings, clock: Clock, registry: Registry) -> KeyRing:
    """The live keys, as long as the ledger's schema is this code's."""
    name = f"{settings.room}-keys"
    return KeyRing(settings.postgres_dsn, name, settings.usage_keys_stale_seconds, clock, registry, _read)


def _read(connection: Connection) -> list[ApiKey]:
    customer_usage.require_current(connection)
    return api_keys.live(connection)
