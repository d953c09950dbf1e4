"""Dispatch: what the ledger owes to Stripe gets there once. Threads around rounds that are each safe to be cut off."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from services.stripe_sink.app.dispatch_cutter import Cutter
from services.stripe_sink.app.dispatch_sender import Sender, SenderLimits
from services.stripe_sink.app.dispatch_settler import Settler
from services.stripe_sink.metrics.dispatch import (
    DEADLINE,
    DISPATCH_ARMED,
    DISPATCH_FAILURES,
    HALT_REASONS,
    LANES_HALTED,
    OUTBOX_OLDEST,
    OUTBOX_PENDING,
)
from services.stripe_sink.ports.stripe import MeterCalls
from trueup.contracts.errors import Broken, Transient
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.store import flush
from trueup.ledger.store.dispatch import arming, cuts, lanes, settlements
from trueup.ledger.store.session import Connection, Session
from trueup.runtime import log
from trueup.runtime.loop import Stop
from trueup.runtime.metrics import Registry
from trueup.runtime.web import Activity, Health

AFTER_FAILURE_SECONDS = 0.5
MEASURE = "measure"
STATES = ("unsent", "in_flight", "unknown", "unmapped", "no_plan", "ambiguous_plan", "no_price")


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """How many senders, how much each takes, and how often what is due is looked for."""

    senders: int = 4
    look_seconds: float = 0.1
    measure_seconds: float = 5.0
    settle_lease_seconds: float = 20.0
    sender: SenderLimits = field(default_factory=SenderLimits)


@dataclass(slots=True)
class _Thread:
    """A thread that takes rounds, and the bell that ends its sleep."""

    name: str
    step: Callable[[], int]
    sleep_seconds: float
    bell: threading.Event
    thread: threading.Thread | None = None


class Dispatch:
    """The dispatch half of the sink. `start` returns at once; `stop` lets calls under way be answered and stored."""

    def __init__(
        self,
        dsn: str,
        room: str,
        meters: MeterCalls,
        registry: Registry,
        limits: DispatchLimits | None = None,
        *,
        before_use: Callable[[Connection], None] | None = None,
    ) -> None:
        self._limits = limits or DispatchLimits()
        if min(self._limits.sender.lease_seconds, self._limits.settle_lease_seconds) < meters.longest_call_seconds:
            raise Broken("a lease must outlast the longest call")
        self._dsn = dsn
        self._before_use = before_use
        # Two processes of one name must not be taken for each other in what is written down.
        self._holder = f"{room}/{os.getpid()}"
        self._registry = registry
        self._stop = Stop()
        self._log = log.get("dispatch")
        self._work = 0
        self._work_lock = threading.Lock()
        self._broken: str | None = None
        self._armed: bool | None = None  # not looked yet
        self._own = OwnAccount(meters.account)
        self._halts_seen = set(HALT_REASONS)
        self._sessions: list[Session] = []
        self._asking = threading.Lock()
        self._asking_session = self._session("activity")
        self._senders = [
            Sender(self._session(name), meters, f"{self._holder}/{name}", self._own, self._limits.sender, registry, self._stop)
            for name in (f"send-{number}" for number in range(1, self._limits.senders + 1))
        ]
        self._threads = self._plan(meters)

    def start(self) -> None:
        """Begin; nothing is sent before the database is armed."""
        for item in self._threads:
            item.thread = threading.Thread(target=self._run, args=(item,), name=f"dispatch-{item.name}", daemon=True)
            item.thread.start()

    def stop(self) -> None:
        """Start no more calls, store what was answered, and end."""
        self._stop.ask()
        for item in self._threads:
            item.bell.set()
        for item in self._threads:
            if item.thread is not None:
                item.thread.join()
        for session in self._sessions:
            session.close()

    def health(self) -> Health:
        """Whether dispatch can do its work. Lanes that halted are another matter: see the metric and `stripe status`."""
        if self._broken is not None:
            return Health(False, self._broken)
        halted = self._halted()
        if halted is not None:
            return Health(False, f"Stripe's answer stopped this sink: {halted}; mend it and start the room again")
        if self._own.why_unconfirmed is not None:
            return Health(False, f"nothing is sent before it is sure whose key this is: {self._own.why_unconfirmed}")
        if self._stop.asked:
            return Health(False, "stopping")
        if any(item.thread is None for item in self._threads):
            return Health(False, "not begun yet")
        dead = [item.name for item in self._threads if item.thread is not None and not item.thread.is_alive()]
        if dead:
            return Health(False, f"threads ended: {', '.join(dead)}")
        if self._armed is False:
            return Health(True, "disarmed: usage waits in the ledger until `trueup stripe arm`")
        return Health(True, "dispatching" if self._armed else "looking whether it is armed")

    def activity(self) -> Activity:
        """What is due now or later, from the ledger itself, so that it is right for all sinks together."""
        if self._broken is not None or self._halted() is not None:
            return Activity(True, self._work, None, (), f"stopped: {self._broken or self._halted()}")
        with self._asking:
            try:
                return self._asking_session.run(self._look)
            except Transient as away:
                return Activity(False, self._work, None, (), f"the ledger does not answer: {away}")

    def _look(self, connection: Connection) -> Activity:
        state = cuts.state(connection)
        self._armed = state.armed
        fresh = cuts.fresh_due_ms(connection, state.discovered_through) if state.newest_batch > state.discovered_through else None
        work = lanes.work(connection)
        hours = settlements.hours(connection) if work.to_settle else []
        dues = [due for due in (state.next_due_ms, fresh, *(hour.due_ms for hour in hours)) if due is not None]
        why = quiet = "idle" if state.armed else "disarmed"
        if not state.judged or state.to_waive or any(due <= state.now_ms for due in dues):
            why = "something is due"
        elif flush.pending(connection):
            why = "a flush waits for a cut"
        elif work.to_send and state.armed:
            why = f"{work.to_send} intents to send"
        if why != quiet:
            for item in self._threads:
                item.bell.set()
        if work.next_horizon_ms is not None:
            dues.append(work.next_horizon_ms)
        return Activity(why == quiet, self._work, min(dues, default=None), (), why)

    def _plan(self, meters: MeterCalls) -> list[_Thread]:
        cutter = Cutter(self._session("cut", index_only=True), f"{self._holder}/cut", self._registry)
        settler = Settler(self._session("settle"), meters, self._own, f"{self._holder}/settle", self._limits.settle_lease_seconds)
        measuring = self._session("measure")
        look = self._limits.look_seconds
        return [
            _Thread("cut", lambda: self._after_cutting(cutter.step()), look, threading.Event()),
            _Thread("settle", settler.step, max(look, 1.0), threading.Event()),
            _Thread(MEASURE, lambda: measuring.run(self._measure), self._limits.measure_seconds, threading.Event()),
            *(
                _Thread(f"send-{number}", self._unless_halted(sender), look, threading.Event())
                for number, sender in enumerate(self._senders, 1)
            ),
        ]

    def _after_cutting(self, made: int) -> int:
        """New intents are sent at once, not at the senders' next look."""
        if made:
            for item in self._threads:
                if item.name.startswith("send"):
                    item.bell.set()
        return made

    def _unless_halted(self, sender: Sender) -> Callable[[], int]:
        return lambda: 0 if self._halted() is not None else sender.step()

    def _run(self, item: _Thread) -> None:
        while not self._stop.asked:
            done = self._round(item)
            if not done and not self._stop.asked:
                item.bell.wait(item.sleep_seconds)
                item.bell.clear()

    def _round(self, item: _Thread) -> int:
        """One round. A failure that may pass is tried again; a broken invariant stops dispatch, and only dispatch.

        Measuring goes on: the gauges must not stand still at what was true before.
        """
        if self._broken is not None and item.name != MEASURE:
            return 0
        try:
            done = item.step()
        except Transient as away:
            self._failed(item, away)
            return 0
        except Broken as broken:
            self._broken = str(broken)
            self._log.critical("dispatch stopped", thread=item.name, why=self._broken)
            return 0
        except Exception as error:  # a bug in one round must not end the thread in silence; it is counted, logged and tried again
            self._log.exception("round failed", thread=item.name)
            self._failed(item, error)
            return 0
        if done:
            with self._work_lock:
                self._work += done
        return done

    def _failed(self, item: _Thread, error: Exception) -> None:
        self._registry.increase(DISPATCH_FAILURES, thread=item.name)
        self._log.warning("round again", thread=item.name, why=f"{type(error).__name__}: {error}")
        self._stop.wait(AFTER_FAILURE_SECONDS)

    def _measure(self, connection: Connection) -> int:
        self._armed = cuts.state(connection).armed
        self._registry.set(DISPATCH_ARMED, self._armed)
        waiting = {item.state: item for item in arming.outbox(connection)}
        for name in STATES:
            found = waiting.get(name)
            self._registry.set(OUTBOX_PENDING, found.items if found else 0, state=name)
            self._registry.set(OUTBOX_OLDEST, (found.oldest_ms or 0) / 1_000 if found else 0, state=name)
            self._registry.set(DEADLINE, (found.deadline_ms or 0) / 1_000 if found else 0, state=name)
        halted = dict(arming.halted_counts(connection))
        if self._halted() is not None:
            halted[f"sink_{self._halted()}"] = 1
        if self._broken is not None:
            halted["sink_broken"] = 1
        # What was mended is shown as 0: a series that vanishes can't be told from a room that does not measure.
        self._halts_seen |= halted.keys()
        for reason in sorted(self._halts_seen):
            self._registry.set(LANES_HALTED, halted.get(reason, 0), reason=reason)
        return 0

    def _halted(self) -> str | None:
        return next((sender.halted for sender in self._senders if sender.halted is not None), None)

    def _session(self, name: str, *, index_only: bool = False) -> Session:
        session = Session(self._dsn, f"trueup-{self._holder}/{name}", index_only=index_only, before_use=self._before_use)
        self._sessions.append(session)
        return session
