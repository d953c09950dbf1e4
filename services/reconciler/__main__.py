"""The reconciler's process: environment, adapters, rounds until asked to stop."""

from __future__ import annotations

import sys

from services.reconciler import metrics
from services.reconciler.adapters import StripeReader
from services.reconciler.adapters.invoices import InvoiceReader
from services.reconciler.adapters.period_reader import PeriodReader
from services.reconciler.adapters.source_ends import SourceEnds
from services.reconciler.adapters.webhook_topic import WebhookTopic
from services.reconciler.app.capturing import Capturing
from services.reconciler.app.flushing import Flushing
from services.reconciler.app.invoices import Invoices
from services.reconciler.app.notifications import Notifications
from services.reconciler.app.period_room import PeriodParts, PeriodRoom, both, together
from services.reconciler.app.periods import Periods
from services.reconciler.app.room import Reconciler
from services.reconciler.config import Settings
from services.reconciler.core.rounds import rhythm
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.store import proof
from trueup.ledger.store.deployment import Deployment
from trueup.ledger.store.session import Session
from trueup.runtime import log
from trueup.runtime.clock import Clock, clock_from
from trueup.runtime.loop import Stop, run_room
from trueup.runtime.metrics import Registry
from trueup.runtime.settings import from_environment
from trueup.runtime.stripe_client import account_of, stripe_client
from trueup.runtime.web import RoomServer


def main() -> int:
    """Run the room; its exit code says how it ended."""

    def body(stop: Stop) -> None:
        settings = from_environment(Settings)
        settings.require("postgres_dsn", "stripe_api_key")
        room = settings.room or "reconciler"
        log.configure(room)
        clock = clock_from(settings.clock)
        registry = Registry(*metrics.ALL, room=room)
        # What each month of every period is worth, and which hours are open, is asked of the whole ledger.
        session = Session(settings.postgres_dsn, room, statement_timeout_seconds=proof.STATEMENT_TIMEOUT_SECONDS)
        key = settings.stripe_api_key
        own = OwnAccount(lambda: Deployment(*account_of(stripe_client(key, settings.stripe_url), key)))
        usual = rhythm(
            simulated=clock.simulated, round_seconds=settings.reconciler_round_seconds, sweep_seconds=settings.reconciler_sweep_seconds
        )
        reconciler = Reconciler(
            session,
            Session(settings.postgres_dsn, f"{room}-probe"),
            StripeReader(settings.stripe_api_key, settings.stripe_url, clock),
            clock,
            usual,
            registry,
            settings.reconciler_readers,
            Invoices(session, InvoiceReader(settings.stripe_api_key, settings.stripe_url), room, usual.sweep_seconds, registry),
            own,
        )
        keeper = _keeper(settings, room, clock, registry, own, stop)
        server = RoomServer(
            settings.http_port,
            registry,
            reconciler.live,
            ready=lambda: both(reconciler.ready(), keeper.health()),
            activity=lambda: together(reconciler.activity(), keeper.activity()),
            host=settings.http_host,
        )
        server.start()
        keeper.start()
        try:
            reconciler.run(stop)
        finally:
            keeper.stop()
            server.stop()
        if keeper.failure is not None:
            raise keeper.failure

    return run_room("reconciler", body)


def _keeper(settings: Settings, room: str, clock: Clock, registry: Registry, own: OwnAccount, stop: Stop) -> PeriodRoom:
    """The period keeper; without a broker it lives on polling alone, and no period of its is provable: nobody says what is not captured."""
    session = Session(settings.postgres_dsn, f"{room}-periods")
    stripe = PeriodReader(settings.stripe_api_key, settings.stripe_url, own.refuse_unconfirmed)
    day_seconds = 86_400
    capturing = Capturing(session, SourceEnds(settings) if settings.kafka_bootstrap else None)
    return PeriodRoom(
        PeriodParts(
            session=session,
            clock=clock,
            periods=Periods(session, stripe, capturing, settings.reconciler_sweep_seconds or day_seconds, registry),
            # A simulated clock stops at every date that somebody waits for.
            notifications=Notifications(session, stripe, day_seconds if clock.simulated else 900, registry),
            flushing=Flushing(session, stripe, 900 if clock.simulated else 5),
            webhooks=WebhookTopic(settings) if settings.kafka_bootstrap else None,
            registry=registry,
            own=own,
        ),
        end=stop.ask,
    )


if __name__ == "__main__":
    sys.exit(main())
