"""The room: rounds of reading at a rhythm, and what the proof says after each."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from services.reconciler.app.invoices import Invoices
from services.reconciler.app.reading import Outcome, Reading
from services.reconciler.core.reads import Customer, Hour, Lane, by_lane, customers_to_read, plan_reads, reach
from services.reconciler.core.rounds import Rhythm
from services.reconciler.metrics import (
    AT_RISK,
    CLOCK_SKEW,
    DIFFERENCE,
    LAST_SUCCESS,
    PROOF_EVALUATIONS,
    PROOF_PENDING,
    PROOF_STALE,
    PROOF_VIOLATIONS,
    REVIEW_OPEN,
    UNBILLED,
)
from services.reconciler.ports import StripeReads
from trueup.contracts.errors import Transient
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.store import invoices, proof, reconciliation
from trueup.ledger.store.session import Session
from trueup.runtime import log
from trueup.runtime.clock import Clock
from trueup.runtime.loop import Stop
from trueup.runtime.metrics import Registry
from trueup.runtime.web import Activity, Health

AFTER_FAILURE_SECONDS = 2.0
# Under a simulated clock a room that never comes to rest would hold up the whole street.
MOST_FAILURES = 10
LOOK_SECONDS = 0.5
REVIEW_KINDS = ("late", "past_deadline", "no_subscription", "conflict")
# Looking takes a share of the database that must stay small: rounds, and evaluations of the proof, are this many times farther apart
# than they take.
REST_SHARE = 10
PROOF_REST_SHARE = 20


@dataclass(slots=True)
class _Progress:
    """What the probes are told."""

    next_round_ms: int
    failures: int = 0
    in_hand: str | None = "starting"
    why_not_ready: str | None = "no round was made yet"


class Reconciler:
    """Makes rounds until asked to stop. Each can be cut off anywhere: what was read is kept, the rest is read again."""

    def __init__(
        self,
        session: Session,
        probe: Session,
        stripe: StripeReads,
        clock: Clock,
        rhythm: Rhythm,
        registry: Registry,
        readers: int,
        invoices: Invoices | None = None,
        own: OwnAccount | None = None,
    ) -> None:
        """Without `own` nobody asks whether the key is that of the ledger's account: `run` is for a process that has it."""
        self._own = own
        self._session = session
        self._probe = probe
        self._probing = threading.Lock()
        self._bell = threading.Event()
        self._next_proof_seconds = 0.0
        self._stripe = stripe
        self._clock = clock
        self._rhythm = rhythm
        self._registry = registry
        self._reading = Reading(session, stripe, readers, registry)
        self._invoices = invoices
        self._log = log.get("reconciler")
        # A round at once, whatever the hour: nothing is known of what was missed.
        self._progress = _Progress(next_round_ms=clock.now_ms())

    def run(self, stop: Stop) -> None:
        """Make rounds when they are due."""
        while not stop:
            self._bell.clear()
            started = time.monotonic()
            self.step()
            took = time.monotonic() - started
            if self._progress.failures:
                stop.wait(AFTER_FAILURE_SECONDS)
            elif self._clock.simulated:
                self._bell.wait(LOOK_SECONDS)
            else:
                stop.wait(max(LOOK_SECONDS, took * REST_SHARE))

    def step(self) -> int:
        """One look: a round if one is due, else the subscriptions of customers who are new and invoices. Says how much was read."""
        try:
            if self._own is not None:
                self._own.confirmed(self._session)
            return self._round() if self._clock.now_ms() >= self._progress.next_round_ms else self._welcome() + self._bill()
        except Transient as away:
            self._fail(str(away))
            self._show_at_least_the_proof()
            return 0

    def _show_at_least_the_proof(self) -> None:
        """What the ledger says needs no answer of Stripe; when it is the ledger that is away, nothing is shown."""
        try:
            self._show(None)
        except Transient as away:
            self._log.warning("the proof is not shown", why=str(away))

    def _round(self) -> int:
        now_ms = self._clock.now_ms()
        self._progress.in_hand = "a round of reading"
        outcome = self._read_customers(now_ms) + self._read_lanes(now_ms) + self._read_pairs(now_ms)
        if self._invoices is not None:
            outcome += self._invoices.step(now_ms)
        succeeded = not outcome.failures
        self._session.run(
            lambda connection: reconciliation.set_round(
                connection,
                read_age_seconds=self._rhythm.read_age_seconds,
                last_round_at_ms=now_ms,
                last_success_at_ms=now_ms if succeeded else None,
            )
        )
        self._finish(now_ms, outcome)
        # Last, since it reads the whole ledger: who asks whether the room is ready, or at rest, need not wait for gauges.
        self._show(now_ms if succeeded else None)
        return outcome.reads

    def _read_customers(self, now_ms: int) -> Outcome:
        known = {customer.customer: customer for customer in self._session.run(reconciliation.billed_customers)}
        views = [Customer(customer.customer, customer.read_at_ms, customer.subscriptions) for customer in known.values()]
        due = customers_to_read(views, now_ms, self._rhythm.sweep_seconds * 1_000, self._rhythm.subscriptions_seconds * 1_000)
        return self._reading.subscriptions([known[name] for name in due])

    def _read_lanes(self, now_ms: int) -> Outcome:
        lanes = {lane.lane_id: lane for lane in self._session.run(reconciliation.lanes)}
        found = self._session.run(reconciliation.open_hours)
        hours = by_lane([(hour.lane_id, Hour(hour.hour_start_ms, hour.touched_at_ms, hour.read_at_ms, hour.differs)) for hour in found])
        views = [
            Lane(lane.lane_id, lane.summary_settle_seconds * 1_000, lane.read_at_ms, hours.get(lane.lane_id, ())) for lane in lanes.values()
        ]
        return self._reading.lanes(plan_reads(views, now_ms, self._rhythm.sweep_seconds * 1_000), lanes)

    def _read_pairs(self, now_ms: int) -> Outcome:
        """Where nothing was ever sent, somebody else may have: asked once a sweep, one call each while there is nothing."""
        unread_since_ms = now_ms - self._rhythm.sweep_seconds * 1_000
        pairs = self._session.run(lambda connection: reconciliation.silent_pairs(connection, unread_since_ms=unread_since_ms))
        return self._reading.pairs(pairs, *reach(now_ms), full=True)

    def _welcome(self) -> int:
        """Usage of a customer who was mapped a moment ago may wait for nothing but the plan."""
        new = [customer for customer in self._session.run(reconciliation.billed_customers) if customer.read_at_ms is None]
        if not new:
            return 0
        self._progress.in_hand = "subscriptions of new customers"
        outcome = self._reading.subscriptions(new)
        self._finish(None, outcome)
        return outcome.reads

    def _bill(self) -> int:
        """A draft becomes final at its own date, which no round waits for."""
        now_ms = self._clock.now_ms()
        if self._invoices is None or not self._invoices_due(self._session, now_ms):
            return 0
        self._progress.in_hand = "invoices"
        outcome = self._invoices.step(now_ms)
        self._finish(None, outcome)
        return outcome.reads

    def _invoices_due(self, session: Session, now_ms: int) -> bool:
        due_ms = None if self._invoices is None else self._invoices.next_due_ms(session)
        return due_ms is not None and due_ms <= now_ms

    def _finish(self, round_at_ms: int | None, outcome: Outcome) -> None:
        progress = self._progress
        if outcome.failures:
            self._fail(f"{outcome.failures} of {outcome.reads} readings of Stripe went unanswered")
            return
        progress.failures = 0
        progress.why_not_ready = None
        if round_at_ms is not None:
            progress.next_round_ms = self._rhythm.next_round_ms(round_at_ms)
        progress.in_hand = None

    def _fail(self, why: str) -> None:
        progress = self._progress
        progress.failures += 1
        self._log.warning(why, failures=progress.failures)
        if progress.failures >= MOST_FAILURES:
            # Until the next round is due there is nothing more to be had; stored readings grow old, and the proof says so.
            progress.next_round_ms = self._rhythm.next_round_ms(self._clock.now_ms())
            progress.in_hand = None
            progress.why_not_ready = why

    def _show(self, succeeded_at_ms: int | None) -> None:
        """Show what the round found, and what the proof says now."""
        if succeeded_at_ms is not None:
            self._registry.set(LAST_SUCCESS, succeeded_at_ms / 1_000)
        skew = self._stripe.clock_skew_seconds()
        if skew is not None:
            self._registry.set(CLOCK_SKEW, skew)
        started = time.monotonic()
        # The proof reads the whole ledger: it is left alone when it was evaluated a moment ago.
        if started >= self._next_proof_seconds:
            self._evaluate()
            ended = time.monotonic()
            self._next_proof_seconds = ended + (ended - started) * PROOF_REST_SHARE

    def _evaluate(self) -> None:
        registry = self._registry
        for check in self._session.run(proof.prove).checks:
            # What waited past its limit is violated too, without a violation to count.
            registry.set(PROOF_VIOLATIONS, check.violations or int(check.status == "violated"), check=check.check_name)
            registry.set(PROOF_PENDING, check.pending, check=check.check_name)
            registry.set(PROOF_STALE, check.stale, check=check.check_name)
            registry.increase(PROOF_EVALUATIONS, check=check.check_name)
        differences = self._session.run(reconciliation.differences)
        registry.replace(DIFFERENCE, {(meter,): float(difference) for meter, difference in differences.items()})
        at_risk = self._session.run(invoices.at_risk)
        registry.replace(UNBILLED, {("missed_invoice",): 0} | {(row.state,): row.positions for row in at_risk})
        worth = {(row.state, currency): amount_minor for row in at_risk for currency, amount_minor in row.amounts_minor.items()}
        registry.replace(AT_RISK, worth)
        open_reviews = self._session.run(reconciliation.open_reviews)
        registry.replace(REVIEW_OPEN, {(kind,): 0 for kind in REVIEW_KINDS} | {(kind,): cases for kind, cases in open_reviews.items()})

    def live(self) -> Health:
        """The process answers; whether it gets on is another question."""
        return Health(True, "running")

    def ready(self) -> Health:
        """Whether the last round went through."""
        why = self._progress.why_not_ready
        return Health(why is None, why or "reading")

    def activity(self) -> Activity:
        """What is left to do at this date; asked of the ledger too, since a customer may have been mapped just now."""
        found = self._look()
        if not found.idle:
            self._bell.set()
        return found

    def _look(self) -> Activity:
        progress = self._progress
        if progress.in_hand is not None:
            return self._activity(False, progress.in_hand)
        if self._clock.now_ms() >= progress.next_round_ms:
            return self._activity(False, "a round is due")
        with self._probing:
            try:
                customers = self._probe.run(reconciliation.billed_customers)
            except Transient as away:
                return self._activity(False, f"the ledger does not answer: {away}")
        if any(customer.read_at_ms is None for customer in customers) and progress.failures < MOST_FAILURES:
            return self._activity(False, "a customer's subscriptions are unread")
        return self._look_at_invoices()

    def _look_at_invoices(self) -> Activity:
        """An invoice has its own date; what could not be read is left until the next round."""
        due_ms = None
        if self._invoices is not None and self._progress.failures < MOST_FAILURES:
            with self._probing:
                try:
                    due_ms = self._invoices.next_due_ms(self._probe)
                except Transient as away:
                    return self._activity(False, f"the ledger does not answer: {away}")
        if due_ms is not None and due_ms <= self._clock.now_ms():
            return self._activity(False, "invoices are due")
        return self._activity(True, "idle", due_ms)

    def _activity(self, idle: bool, why: str, due_ms: int | None = None) -> Activity:
        next_due_ms = min(self._progress.next_round_ms, due_ms or self._progress.next_round_ms) if idle else None
        return Activity(idle, self._work, next_due_ms, (), why)

    @property
    def _work(self) -> int:
        return self._reading.work + (0 if self._invoices is None else self._invoices.work)
