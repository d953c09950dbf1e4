"""A subscription whose periods end while a test looks: dispatch, the period keeper and an emulated Stripe on one clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from services.reconciler import metrics
from services.reconciler.adapters.period_reader import PeriodReader
from services.reconciler.adapters.source_ends import SourceEnds
from services.reconciler.adapters.webhook_topic import WebhookTopic
from services.reconciler.app.capturing import Capturing
from services.reconciler.app.flushing import Flushing
from services.reconciler.app.notifications import Notifications
from services.reconciler.app.period_room import PeriodParts, PeriodRoom
from services.reconciler.app.periods import Periods
from tests.makers.dispatch_world import DispatchWorld, wait_idle
from tests.system.emulator.listening import wait_until_idle
from tests.system.emulator.running import API_KEY
from trueup.ledger.store import periods
from trueup.ledger.store.periods import PeriodStatus
from trueup.ledger.store.session import Session
from trueup.runtime.clock import SimulatedClock
from trueup.runtime.metrics import Registry
from trueup.runtime.settings import StreetSettings

DAY_MS = 86_400_000
DAY_SECONDS = 86_400


class NothingPublished:
    """The source topic of a test that posts usage to the ledger itself."""

    def ends(self) -> Mapping[int, int]:
        """It has no partitions."""
        return {}


@contextmanager
def keeper(world: DispatchWorld, broker: StreetSettings | None = None) -> Iterator[PeriodRoom]:
    """A period keeper as the process makes it, with a broker or without; stepped by the test."""
    assert world.emulator.clock is not None
    session = Session(world.database.writer_dsn, "periods")
    registry = Registry(*metrics.ALL, room="reconciler")
    world.registries.append(registry)
    reader = PeriodReader(API_KEY, world.emulator.url)
    topic = None if broker is None else WebhookTopic(broker)
    source = None if broker is None else SourceEnds(broker)
    parts = PeriodParts(
        session=session,
        clock=SimulatedClock(world.emulator.clock.path),
        periods=Periods(session, reader, Capturing(session, source or NothingPublished()), DAY_SECONDS, registry),
        notifications=Notifications(session, reader, DAY_SECONDS, registry),
        flushing=Flushing(session, reader, 900),
        webhooks=topic,
        registry=registry,
    )
    try:
        yield PeriodRoom(parts)
    finally:
        if topic is not None:
            topic.close()
        if source is not None:
            source.close()
        session.close()


def subscribe(world: DispatchWorld, *, since_ms: int, customer: str = "acme", meter: str = "tokens", mode: str = "flexible") -> str:
    """A customer on a metered price since an instant, anchored there; gives the subscription's id."""
    name = world.event_name(meter)
    recurring = {"interval": "month", "usage_type": "metered", "meter": f"mtr_{name}"}
    price = {"id": f"price_{name}", "currency": "usd", "product_data": {"name": meter}, "recurring": recurring, "unit_amount": 1}
    world.emulator.tell("prices", price)
    identifier = f"sub_{customer}{world.suffix}"
    wish = {"id": identifier, "customer": world.stripe_customer(customer), "items": [{"price": f"price_{name}"}]}
    world.emulator.tell("subscriptions", wish | {"backdate_start_date": since_ms // 1_000, "billing_mode": {"type": mode}})
    return identifier


def period_end_ms(world: DispatchWorld, subscription: str) -> int:
    """When the current period of a subscription's first item ends."""
    found = world.emulator.client().v1.subscriptions.retrieve(subscription).to_dict()
    return int(found["items"]["data"][0]["current_period_end"]) * 1_000


def go_to(world: DispatchWorld, now_ms: int) -> None:
    """Step all clocks, and let Stripe do what fell due."""
    world.set_now(now_ms)
    wait_until_idle(world.emulator)


def settle(world: DispatchWorld, *rooms: PeriodRoom) -> None:
    """Let dispatch and keeper come to rest at this date."""
    with world.dispatching() as dispatch:
        for _round in range(6):
            done = sum(room.step() for room in rooms)
            wait_idle(dispatch)
            if not done:
                return


def standing(world: DispatchWorld) -> list[PeriodStatus]:
    """What finance.period_status says."""
    return periods.status(world.ledger)
