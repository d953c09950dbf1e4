"""A ledger and an emulated Stripe that share one simulated clock, and a dispatch between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import requests

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from services.stripe_sink.app.dispatch import Dispatch, DispatchLimits
from services.stripe_sink.app.dispatch_sender import SenderLimits
from services.stripe_sink.core.dispatch_wait import BackOff
from services.stripe_sink.metrics import dispatch as metrics
from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_forwarded
from tests.makers.room_capture import RoomCapture
from tests.system.emulator.running import API_KEY, START_MS, RunningEmulator
from trueup.contracts.catalogue import FROM_THE_BEGINNING_MS, CatalogueVersion, Timeline, VersionInForce, parse
from trueup.contracts.events import UsageEvent
from trueup.ledger.store import barrier, catalogue, clock, customers
from trueup.ledger.store.deployment import Deployment
from trueup.ledger.store.dispatch import arming
from trueup.runtime.metrics import Registry

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
ROLL_UP_MS = 5 * MINUTE_MS
SETTLE_HOURS = 2
QUICK = DispatchLimits(
    senders=2,
    look_seconds=0.02,
    measure_seconds=0.2,
    sender=SenderLimits(lanes_at_once=4, lease_seconds=4.0, back_off=BackOff(first_seconds=0.01, longest_seconds=0.1)),
)
METER = """
[meter.{name}]
unit = "unit"
scale = {scale}
roll_up = "PT5M"
stripe_event_name = {event_name}
"""


def make_meters(url: str) -> StripeMeters:
    """The real adapter, impatient."""
    return StripeMeters(API_KEY, url, connect_timeout_seconds=1.0, read_timeout_seconds=2.0)


class Confirmed(StripeMeters):
    """Meters of a process that asked whose key it has before its trouble began."""

    def __init__(self, url: str, whole_url: str, api_key: str = API_KEY) -> None:
        super().__init__(api_key, url, connect_timeout_seconds=1.0, read_timeout_seconds=2.0)
        self._before = make_meters(whole_url)

    def account(self) -> Deployment:
        """As Stripe said it then."""
        return self._before.account()


@dataclass
class DispatchWorld:
    """What one test has to itself."""

    database: Database
    emulator: RunningEmulator
    ledger: psycopg.Connection
    suffix: str
    registries: list[Registry] = field(default_factory=list)
    room: RoomCapture = field(init=False)
    timeline: Timeline = field(default_factory=Timeline)

    def __post_init__(self) -> None:
        self.room = RoomCapture(self.ledger)

    @property
    def now_ms(self) -> int:
        """The date of ledger and Stripe."""
        assert self.emulator.clock is not None
        return self.emulator.clock.now_ms

    def set_now(self, now_ms: int) -> None:
        """Step both clocks."""
        assert self.emulator.clock is not None
        self.emulator.clock.set_ms(now_ms)
        clock.set_simulated_now(self.ledger, now_ms)

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self.set_now(self.now_ms + milliseconds)

    def event_name(self, meter: str) -> str:
        """The name of a meter in Stripe: tests share an emulator."""
        return f"{meter}-{self.suffix}"

    def apply(self, *meters: str, plans: Mapping[str, tuple[str, ...]] | None = None, scale: int = 0) -> None:
        """A catalogue version with these meters, made in Stripe; a plan-scoped meter has one name a plan."""
        scoped = plans or {}
        text = ""
        for meter in (*meters, *scoped):
            names = {plan: self.event_name(f"{meter}-{plan}") for plan in scoped.get(meter, ())}
            in_toml = "{ " + ", ".join(f'{plan} = "{name}"' for plan, name in names.items()) + " }"
            text += METER.format(name=meter, scale=scale, event_name=in_toml if names else f'"{self.event_name(meter)}"')
            for name in names.values() or [self.event_name(meter)]:
                wish = {"id": f"mtr_{name}", "display_name": meter, "event_name": name, "default_aggregation": {"formula": "sum"}}
                self.emulator.tell("meters", wish)
        # Worlds share an emulator: a price that each makes for itself has its suffix.
        for plan in sorted({plan for names in scoped.values() for plan in names}):
            text += f'[plan.{plan}]\nstripe_prices = ["price_{plan}", "{self.plan_price(plan)}"]\n'
        text += f'[policy]\nfinalization_grace = "PT24H"\nsummary_settle = "PT{SETTLE_HOURS}H"\n'
        version = len(self.timeline.versions) + 1
        in_force = VersionInForce(version, FROM_THE_BEGINNING_MS, parse(text))
        self.timeline = Timeline((*self.timeline.versions, in_force))
        catalogue.record_version(self.ledger, CatalogueVersion(version, text, "test"), self.now_ms, in_force)

    def plan_price(self, plan: str) -> str:
        """The id of a plan's price in Stripe."""
        return f"price_{plan}_{self.suffix}"

    def stripe_customer(self, customer: str) -> str:
        """The id of a customer in Stripe."""
        return f"cus_{customer}{self.suffix}"

    def map(self, customer: str) -> None:
        """A customer that exists in Stripe and is mapped."""
        self.emulator.tell("customers", {"id": self.stripe_customer(customer), "name": customer})
        customers.map_customer(self.ledger, customer, self.stripe_customer(customer), reason="test", recorded_by="test")

    def use(
        self,
        customer: str,
        meter: str,
        quantity: int,
        *,
        at_ms: int | None = None,
        events: int = 1,
        connection: psycopg.Connection | None = None,
    ) -> int:
        """Usage as capture posts it: barrier, batch number, posting to unsent. Gives the batch number."""
        event_ms = self.now_ms if at_ms is None else at_ms
        start_ms = event_ms // ROLL_UP_MS * ROLL_UP_MS
        ledger = connection or self.ledger
        with ledger.transaction():
            barrier.share(ledger)
            batch = barrier.next_batch(ledger)
            ledger.execute(
                "insert into ledger.batch (batch_id, kind, writer, recorded_at) values (%s, 'capture', 'test', ops.now())", (batch,)
            )
            ledger.execute(
                "insert into ledger.subject (customer, meter) values (%s, %s) on conflict (customer, meter) do nothing", (customer, meter)
            )
            ledger.execute(
                """insert into ledger.posting (batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity,
                       events, oldest_event_time, newest_event_time)
                   select %s, s.subject_id, to_timestamp(%s / 1000.0), to_timestamp(%s / 1000.0), 1, 2, %s, %s,
                       to_timestamp(%s / 1000.0), to_timestamp(%s / 1000.0)
                   from ledger.subject s where s.customer = %s and s.meter = %s""",
                (batch, start_ms, start_ms + ROLL_UP_MS, quantity, events, event_ms, event_ms, customer, meter),
            )
        return batch

    def capture(self, *events: UsageEvent, late: bool = False) -> int:
        """Usage as the capture room takes it from the topics, arrived just now; gives the batch number."""
        first = self.room.positions[0]["on_time"] + self.room.positions[0]["late"] if self.room.positions else 0
        records = [make_forwarded(offset, event, arrival_ms=self.now_ms) for offset, event in enumerate(events, first)]
        on_time, too_late = ((), records) if late else (records, ())
        version = len(self.timeline.versions)
        announced = make_announced(first_offset=first, on_time=on_time, late=too_late, progress_offset=first, version=version)
        return self.room.capture((announced,), self.timeline, 0)

    def pass_segment(self) -> None:
        """Go to the date at which what was used just now is due."""
        self.set_now((self.now_ms // ROLL_UP_MS + 1) * ROLL_UP_MS + MINUTE_MS)

    def arm(self, **others: Any) -> arming.ArmingReport:
        """Arm with a comparison, as the command does."""
        return arming.arm(self.ledger, make_meters(self.emulator.url), reason="test", by="test", **others)

    def make_dispatch(self, *, limits: DispatchLimits = QUICK, url: str | None = None, meters: StripeMeters | None = None) -> Dispatch:
        """A dispatch as the room runs it; with an address, one that has to send there since it began."""
        registry = Registry(*metrics.ALL, room="stripe-sink-test")
        self.registries.append(registry)
        return Dispatch(
            self.database.writer_dsn, "stripe-sink-test", meters or Confirmed(url or self.emulator.url, self.emulator.url), registry, limits
        )

    @contextmanager
    def dispatching(self, **others: Any) -> Iterator[Dispatch]:
        """A dispatch that runs inside the block."""
        dispatch = self.make_dispatch(**others)
        dispatch.start()
        try:
            yield dispatch
        finally:
            dispatch.stop()

    def trouble(self, kind: str, count: int | None = 1, **others: Any) -> None:
        """Order a fault of meter events."""
        self.emulator.tell("faults", [{"path": "/v1/billing/meter_events", "kind": kind, "count": count, **others}])

    def take_trouble_away(self) -> None:
        """Take back the faults that are left."""
        requests.delete(f"{self.emulator.url}/_emulator/faults", timeout=30).raise_for_status()

    def books(self, customer: str, meter: str) -> tuple[int, str]:
        """What Stripe counts, by its own books: events and value."""
        page = self.emulator.ask("books")["meters"].get(self.event_name(meter), {}).get(self.stripe_customer(customer))
        return (0, "0") if page is None else (page["events"], page["value"])

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Look into the ledger."""
        return self.ledger.execute(statement.encode(), parameters).fetchall()

    def account(self, name: str) -> int:
        """What stands in an account."""
        ((quantity,),) = self.rows(
            """select coalesce(sum(case when p.to_account = a.account_id then p.quantity else -p.quantity end), 0)::bigint
               from ledger.account a left join ledger.posting p on a.account_id in (p.from_account, p.to_account) where a.name = %s""",
            name,
        )
        return int(quantity)

    def classes(self) -> list[str]:
        """The outcomes in the order they were stored."""
        return [row[0] for row in self.rows("select class from ledger.outcome order by outcome_id")]


def wait_for(what: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait on the machine's clock for something that is about to be true."""
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up, "it did not become true in time"
        threading.Event().wait(0.02)


def wait_idle(*dispatches: Dispatch, seconds: float = 30.0) -> None:
    """Wait as the street's clock does: two rounds of asking in which all are idle and nothing was done."""
    give_up = time.monotonic() + seconds
    before: list[int] | None = None
    while True:
        activities = [dispatch.activity() for dispatch in dispatches]
        works = [activity.work for activity in activities]
        assert all(dispatch.health().ok for dispatch in dispatches), [dispatch.health() for dispatch in dispatches]
        if all(activity.idle for activity in activities) and works == before:
            return
        before = works if all(activity.idle for activity in activities) else None
        assert time.monotonic() < give_up, f"still busy: {activities}"
        threading.Event().wait(0.02)


__all__ = ["HOUR_MS", "MINUTE_MS", "QUICK", "ROLL_UP_MS", "START_MS", "DispatchWorld", "make_meters", "wait_for", "wait_idle"]
