"""A subscription whose periods end while a test looks: dispatch, the period keeper and an emulated Stripe on one clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg.rows import class_row

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
from services.reconciler.app.period_room import PeriodParts, PeriodRoom
from services.reconciler.app.periods import Periods
from services.reconciler.app.room import Reconciler
from services.reconciler.core.rounds import rhythm
from tests.makers.dispatch_world import DispatchWorld, make_meters, wait_idle
from tests.system.emulator.listening import wait_until_idle
from tests.system.emulator.running import API_KEY
from trueup.contracts.webhooks import StripeWebhook
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.store.deployment import Deployment
from trueup.ledger.store.session import Session
from trueup.runtime.clock import SimulatedClock
from trueup.runtime.metrics import Registry
from trueup.runtime.settings import StreetSettings

DAY_MS = 86_400_000
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class PeriodStatus:
    """A row of view finance.period_status."""

    customer_id: str
    subscription_id: str
    subscription_item_id: str
    meter: str | None
    period_start: datetime
    period_end: datetime
    status: str
    open_quantity: Decimal
    deadline: datetime
    provable: bool
    why_not: str | None
    unit: str
    invoice_id: str | None


class NothingPublished:
    """The source topic of a test that posts usage to the ledger itself."""

    def ends(self) -> Mapping[int, int]:
        """It has no partitions."""
        return {}


@contextmanager
def keeper(
    world: DispatchWorld, broker: StreetSettings | None = None, *, whose_key: Callable[[], Deployment] | None = None
) -> Iterator[PeriodRoom]:
    """A period keeper as the process makes it, with a broker or without; stepped by the test. The emulator says whose key it has."""
    assert world.emulator.clock is not None
    session = Session(world.database.writer_dsn, "periods")
    registry = Registry(*metrics.ALL, room="reconciler")
    world.registries.append(registry)
    own = OwnAccount(whose_key or make_meters(world.emulator.url).account)
    reader = PeriodReader(API_KEY, world.emulator.url, own.refuse_unconfirmed)
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
        own=own,
    )
    try:
        yield PeriodRoom(parts)
    finally:
        if topic is not None:
            topic.close()
        if source is not None:
            source.close()
        session.close()


@contextmanager
def rounds_of(world: DispatchWorld, own: OwnAccount | None = None) -> Iterator[Reconciler]:
    """A reconciler as the process makes it, but for its invoices; stepped by the test."""
    assert world.emulator.clock is not None
    clock = SimulatedClock(world.emulator.clock.path)
    session, probe = Session(world.database.writer_dsn, "reconciler"), Session(world.database.writer_dsn, "reconciler-probe")
    registry = Registry(*metrics.ALL, room="reconciler")
    world.registries.append(registry)
    usual = rhythm(simulated=True, round_seconds=None, sweep_seconds=None)
    yield Reconciler(session, probe, StripeReader(API_KEY, world.emulator.url, clock), clock, usual, registry, 2, own=own)
    session.close()
    probe.close()


@contextmanager
def invoicing(world: DispatchWorld, again_seconds: int = DAY_SECONDS) -> Iterator[Invoices]:
    """The part that reads invoices and prices, as the process makes it; stepped by the test."""
    session = Session(world.database.writer_dsn, "reconciler")
    yield Invoices(session, InvoiceReader(API_KEY, world.emulator.url), "reconciler", again_seconds)
    session.close()


def subscribe(
    world: DispatchWorld, *, since_ms: int, customer: str = "acme", meter: str = "tokens", mode: str = "flexible", again: str = ""
) -> str:
    """A customer on a metered price since an instant, anchored there; gives the subscription's id, which `again` tells from a first one."""
    name = world.event_name(meter)
    recurring = {"interval": "month", "usage_type": "metered", "meter": f"mtr_{name}"}
    price = {"id": f"price_{name}", "currency": "usd", "product_data": {"name": meter}, "recurring": recurring, "unit_amount": 1}
    world.emulator.tell("prices", price)
    identifier = f"sub_{customer}{again}{world.suffix}"
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


def events_of(world: DispatchWorld, customer: str = "acme") -> list[dict[str, Any]]:
    """What Stripe lists of a customer, the newest first."""
    mine = world.stripe_customer(customer)
    found = [event.to_dict() for event in world.emulator.client().v1.events.list({"limit": 100}).auto_paging_iter()]
    return [event for event in found if event["data"]["object"].get("customer") == mine]


def webhook_of(event: dict[str, Any], received_at_ms: int, *, livemode: bool = False) -> StripeWebhook:
    """An event as the door takes it."""
    body = json.dumps(event, default=str).encode()
    return StripeWebhook(event["id"], event["type"], None, livemode, int(event["created"]) * 1_000, received_at_ms, "t=1,v1=00", body)


def ended(world: DispatchWorld, subscription: str, at_ms: int) -> None:
    """The notification of a subscription's end came."""
    world.ledger.execute(
        """insert into ledger.stripe_event (event_id, type, object_id, stripe_customer, created, received_at, via, body, recorded_at)
           values (%s, 'customer.subscription.deleted', %s, %s, to_timestamp(%s), ops.now(), 'webhook', '{}', ops.now())
           on conflict do nothing""",
        (f"evt_end_{subscription}", subscription, world.stripe_customer("acme"), at_ms / 1_000),
    )


def look_at(world: DispatchWorld, room: PeriodRoom, billing: Invoices, *dates_ms: int) -> None:
    """Step to each of these dates and do what is due there."""
    for now_ms in dates_ms:
        go_to(world, max(now_ms, world.now_ms))
        settle(world, room)
        billing.step(world.now_ms)


def use_and_send(world: DispatchWorld, room: PeriodRoom, quantity: int, *, meter: str = "tokens", in_ms: int = 0) -> None:
    """Usage of acme's that Stripe has."""
    world.use("acme", meter, quantity, at_ms=world.now_ms + in_ms)
    send(world, room)


def send(world: DispatchWorld, room: PeriodRoom) -> None:
    """Let the windows of what was used just now end, and Stripe have it."""
    for _window in range(3):
        world.pass_segment()
    settle(world, room)


def assert_ends(world: DispatchWorld, *, missed: int, invoiced: int) -> None:
    """Nothing that Stripe received is undecided any more, and the lines of its invoices agree with the ledger."""
    assert (world.account("acknowledged"), world.account("missed_invoice"), world.account("invoiced")) == (0, missed, invoiced)
    assert world.rows("select violations, pending from finance.proof where check_name = 'lines_equal_ledger'") == [(0, 0)]


def standing(world: DispatchWorld, customer: str | None = None) -> list[PeriodStatus]:
    """What finance.period_status says of one customer, or of all: the emulator has those of other tests, too."""
    columns = ", ".join(PeriodStatus.__slots__)
    with world.ledger.cursor(row_factory=class_row(PeriodStatus)) as cursor:
        query = f"""select {columns} from finance.period_status
            where %(customer)s::text is null or customer_id = %(customer)s
            order by customer_id, period_start, meter, subscription_item_id"""
        return cursor.execute(query.encode(), {"customer": customer}).fetchall()


def keeper_page(world: DispatchWorld) -> str:
    """The metrics of the newest keeper."""
    pages = [registry.render().decode() for registry in world.registries]
    return next(page for page in reversed(pages) if "trueup_webhooks_total" in page)
