"""The reconciler's process: environment, adapters, rounds until asked to stop."""

from __future__ import annotations

import sys

from services.reconciler import metrics
from services.reconciler.adapters import StripeReader
from services.reconciler.app.room import Reconciler
from services.reconciler.config import Settings
from services.reconciler.core.rounds import rhythm
from trueup.ledger.store.session import Session
from trueup.runtime.clock import clock_from
from trueup.runtime.loop import Stop, run_room
from trueup.runtime.metrics import Registry
from trueup.runtime.web import RoomServer


def main() -> int:
    """Run the room; its exit code says how it ended."""
    settings = Settings()
    settings.require("postgres_dsn", "stripe_api_key")
    room = settings.room or "reconciler"

    def body(stop: Stop) -> None:
        clock = clock_from(settings.clock)
        registry = Registry(*metrics.ALL, room=room)
        reconciler = Reconciler(
            Session(settings.postgres_dsn, room),
            Session(settings.postgres_dsn, f"{room}-probe"),
            StripeReader(settings.stripe_api_key, settings.stripe_url, clock),
            clock,
            rhythm(
                simulated=clock.simulated,
                round_seconds=settings.reconciler_round_seconds,
                sweep_seconds=settings.reconciler_sweep_seconds,
            ),
            registry,
            settings.reconciler_readers,
        )
        server = RoomServer(settings.http_port, registry, reconciler.live, reconciler.ready, reconciler.activity, host=settings.http_host)
        server.start()
        try:
            reconciler.run(stop)
        finally:
            server.stop()

    return run_room(room, body)


if __name__ == "__main__":
    sys.exit(main())
