"""Everything that is read of Stripe and kept; without a rhythm of its own, so that the command can use it too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from services.reconciler.app.newest_catalogue import NewestCatalogue
from services.reconciler.core.figures import Figure, figure_of, is_exact, windows_of
from services.reconciler.core.reads import LaneRead
from services.reconciler.metrics import READS
from services.reconciler.ports import StripeReads, Subscription
from trueup.contracts.errors import Transient
from trueup.ledger.store import clock, reconciliation
from trueup.ledger.store.plans import Seen
from trueup.ledger.store.reconciliation import BilledCustomer, HourReading, Lane, PreviewLine, SilentPair
from trueup.ledger.store.session import Session
from trueup.runtime import log
from trueup.runtime.metrics import Registry

CHUNK = 64  # how many readings share one date, which is taken before the first of them is asked for
T = TypeVar("T")
# A subscription, and what is to come of it where Stripe said so.
Found: TypeAlias = tuple[Subscription, list[PreviewLine] | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many readings were made, and how many of them went without an answer."""

    reads: int
    failures: int

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.reads + other.reads, self.failures + other.failures)


class Reading:
    """Reads with a few threads, keeps with one."""

    def __init__(self, session: Session, stripe: StripeReads, readers: int, registry: Registry | None = None) -> None:
        self._session = session
        self._stripe = stripe
        self._readers = readers
        self._registry = registry
        self._meter_ids: Mapping[str, str] = {}
        self._catalogue = NewestCatalogue(session)
        self._log = log.get("reading")
        self.work = 0

    def subscriptions(self, customers: Sequence[BilledCustomer]) -> Outcome:
        """Read the subscriptions of customers: their plans become facts, their previews are kept."""
        if not customers:
            return Outcome(0, 0)
        if not self._learn_meters():
            return Outcome(1, 1)
        failures = 0
        for chunk in _chunks(customers):
            read_at_ms = self._session.run(clock.now_ms)
            with ThreadPoolExecutor(self._readers) as pool:
                for customer, found in zip(chunk, pool.map(self._read_subscriptions, chunk), strict=True):
                    self.work += 1
                    if found is None:
                        failures += 1
                    else:
                        failures += any(lines is None for _, lines in found)
                        self._keep_subscriptions(customer, found, read_at_ms)
        return Outcome(len(customers), failures)

    def lanes(self, reads: Sequence[LaneRead], lanes: Mapping[int, Lane]) -> Outcome:
        """Read summaries as planned and keep them."""
        if not reads:
            return Outcome(0, 0)
        if not self._learn_meters([lanes[read.lane_id].stripe_event_name for read in reads]):
            return Outcome(1, 1)
        failures = 0
        for chunk in _chunks(reads):
            read_at_ms = self._session.run(clock.now_ms)
            with ThreadPoolExecutor(self._readers) as pool:
                figures = pool.map(lambda read: self._figures(lanes[read.lane_id], read.from_ms, read.to_ms), chunk)
                for read, found in zip(chunk, figures, strict=True):
                    self.work += 1
                    if found is None:
                        failures += 1
                    else:
                        self._keep_lane(read, found, read_at_ms)
        return Outcome(len(reads), failures)

    def pairs(self, pairs: Sequence[SilentPair], from_ms: int, to_ms: int, *, full: bool) -> Outcome:
        """Ask whether Stripe has anything in [from, to) where nothing was sent; `full` when these are all hours that can still change."""
        if not pairs:
            return Outcome(0, 0)
        if not self._learn_meters([pair.stripe_event_name for pair in pairs]):
            return Outcome(1, 1)
        failures = 0
        for chunk in _chunks(pairs):
            read_at_ms = self._session.run(clock.now_ms)
            with ThreadPoolExecutor(self._readers) as pool:
                for pair, found in zip(chunk, pool.map(lambda pair: self._figures(pair, from_ms, to_ms), chunk), strict=True):
                    self.work += 1
                    if found is None:
                        failures += 1
                    else:
                        self._keep_pair(pair, _readings(found), from_ms, to_ms, read_at_ms, full=full)
        return Outcome(len(pairs), failures)

    def _keep_pair(self, pair: SilentPair, found: list[HourReading], from_ms: int, to_ms: int, read_at_ms: int, *, full: bool) -> None:
        self._session.run(lambda connection: reconciliation.store_pair(connection, pair, from_ms, to_ms, found, read_at_ms, full=full))

    def _read_subscriptions(self, customer: BilledCustomer) -> list[Found] | None:
        try:
            found = self._stripe.subscriptions(customer.stripe_customer)
        except Transient as missing:
            self._failed("subscriptions", missing, customer.stripe_customer)
            return None
        read = [(subscription, self._try_preview(customer.stripe_customer, subscription)) for subscription in found]
        if all(lines is not None for _, lines in read):
            self._count("subscriptions", "answered")
        return read

    def _try_preview(self, stripe_customer: str, subscription: Subscription) -> list[PreviewLine] | None:
        """None where Stripe does not say what is to come: which plan it is for was said all the same."""
        try:
            return self._read_preview(stripe_customer, subscription)
        except Transient as missing:
            self._failed("subscriptions", missing, stripe_customer)
            return None

    def _read_preview(self, stripe_customer: str, subscription: Subscription) -> list[PreviewLine]:
        event_names = {meter_id: name for name, meter_id in self._meter_ids.items()}
        return [
            PreviewLine(
                price_id=line.price_id,
                subscription_item_id=line.subscription_item_id,
                stripe_event_name=event_names.get(subscription.meters.get(line.price_id, "")),
                quantity=line.quantity,
                period_start_ms=line.period_start_ms,
                period_end_ms=line.period_end_ms,
            )
            for line in self._stripe.preview(stripe_customer, subscription.subscription_id)
        ]

    def _keep_subscriptions(
        self,
        customer: BilledCustomer,
        found: list[Found],
        read_at_ms: int,
    ) -> None:
        # The newest one for each: by an old one a plan that got another name would get its old name back.
        catalogue = self._catalogue.get()
        seen = [Seen(customer.customer, one.subscription_id, one.start_ms, one.ended_ms, one.prices, read_at_ms) for one, _lines in found]
        previews = {subscription.subscription_id: lines for subscription, lines in found if lines is not None}
        whole = len(previews) == len(found)
        self._session.run(
            lambda connection: reconciliation.store_subscriptions(connection, customer, seen, catalogue, previews, read_at_ms, whole=whole)
        )

    def _figures(self, lane: Lane | SilentPair, from_ms: int, to_ms: int) -> list[Figure] | None:
        meter_id = self._meter_ids.get(lane.stripe_event_name)
        try:
            if meter_id is None:
                raise Transient(f"Stripe has no meter for event name {lane.stripe_event_name}")
            values = self._stripe.hours(meter_id, lane.stripe_customer, from_ms, to_ms)
            figures = [self._figure(meter_id, lane, value.hour_start_ms, value.value) for value in values]
        except Transient as missing:
            self._failed("summaries", missing, lane.stripe_customer)
            return None
        self._count("summaries", "answered")
        return figures

    def _figure(self, meter_id: str, lane: Lane | SilentPair, hour_start_ms: int, value: float) -> Figure:
        """Take an hour's figure, or that of each of its roll-up windows when it has more digits than a double holds."""
        if is_exact(value, lane.scale):
            return figure_of(hour_start_ms, [value], lane.scale)
        windows = windows_of(hour_start_ms, lane.roll_up_seconds)
        values = [self._stripe.total(meter_id, lane.stripe_customer, start_ms, end_ms) for start_ms, end_ms in windows]
        return figure_of(hour_start_ms, values, lane.scale)

    def _keep_lane(self, read: LaneRead, figures: list[Figure], read_at_ms: int) -> None:
        readings = _readings(figures)
        self._session.run(
            lambda connection: reconciliation.store_hours(
                connection, read.lane_id, read.from_ms, read.to_ms, readings, read_at_ms, full=read.sweep
            )
        )

    def _learn_meters(self, needed: Sequence[str] = ()) -> bool:
        """Ask for meters when one is not known: they are made all the time, and never renamed."""
        if self._meter_ids and all(name in self._meter_ids for name in needed):
            return True
        try:
            self._meter_ids = self._stripe.event_names()
        except Transient as missing:
            self._failed("meters", missing, "")
            return False
        self._count("meters", "answered")
        return True

    def _failed(self, what: str, missing: Transient, stripe_customer: str) -> None:
        self._count(what, "failed")
        self._log.warning(str(missing), what=what, stripe_customer=stripe_customer)

    def _count(self, what: str, outcome: str) -> None:
        if self._registry is not None:
            self._registry.increase(READS, what=what, outcome=outcome)


def _readings(figures: Sequence[Figure]) -> list[HourReading]:
    return [HourReading(figure.hour_start_ms, figure.value_text, figure.quantity, figure.exact) for figure in figures]


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
