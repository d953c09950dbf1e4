"""The period keeper's thread: notifications, periods, closes and flushes; beside the rounds of reading, never in their way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.reconciler.adapters.webhook_topic import Received, WebhookTopic
from services.reconciler.app.flushing import Flushing
from services.reconciler.app.notifications import Notifications
from services.reconciler.app.periods import Periods
from services.reconciler.metrics import DEADLINE, NOT_PROVABLE, NOT_PROVABLE_WORTH
from trueup.contracts.errors import Broken, Restart, Transient
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.store import periods
from trueup.ledger.store.session import Session
from trueup.runtime import log
from trueup.runtime.clock import Clock
from trueup.runtime.metrics import Registry
from trueup.runtime.web import Activity, Health

LOOK_SECONDS = 0.2
AFTER_FAILURE_SECONDS = 1.0
POLL_ANYWAY_SECONDS = 60.0
SHOWN_STATES = ("unsent", "in_flight", "closing", "not_provable")


@dataclass(slots=True)
class PeriodParts:
    """What the keeper works with."""

    session: Session
    clock: Clock
    periods: Periods
    notifications: Notifications
    flushing: Flushing
    webhooks: WebhookTopic | None  # None where there is no broker to read them from
    registry: Registry
    own: OwnAccount | None = None  # None where nobody asks whether the key is that of the ledger's account


class PeriodRoom:
    """Looks until asked to stop. What fails in passing is tried again; a broken invariant stops the keeper and says why.

    What only a new process can do ends this one: `end` is called, and `failure` says why.
    """

    def __init__(self, parts: PeriodParts, end: Callable[[], None] = lambda: None) -> None:
        self._parts = parts
        self._end = end
        self.failure: Restart | None = None
        self._stopping = threading.Event()
        self._bell = threading.Event()
        self._thread = threading.Thread(target=self._run, name="periods", daemon=True)
        self._log = log.get("periods")
        self._hints: set[str] = set()
        self._received: Received | None = None  # read, and not in the ledger yet
        self._behind_since: float | None = None  # since when a poll waits for webhooks to be read; on the monotonic clock
        self._broken: str | None = None
        self._unread: str | None = None  # why the last look at customers was not whole
        self._unconfirmed: str | None = None  # why nothing is read from Stripe at all
        self._confirm_at = 0.0
        self._trouble: str | None = "nothing was looked at yet"
        self._in_hand = True
        self._looked_ms = -1
        self._work = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look in hand."""
        self._stopping.set()
        self._bell.set()
        self._thread.join()
        if self._parts.webhooks is not None:
            self._parts.webhooks.close()
        self._parts.session.close()

    def health(self) -> Health:
        """Whether periods are kept."""
        why = self._broken or self._trouble
        return Health(why is None, f"periods: {why}" if why else "keeping periods")

    def activity(self) -> Activity:
        """What is left to do at this date."""
        if self._broken is not None:
            return Activity(True, self._work, None, (), f"periods stopped: {self._broken}")
        due_ms = self._due_ms()
        why = ""
        if self._in_hand or self._hints:
            why = "periods are being looked at"
        elif self._looked_ms < self._parts.clock.now_ms():
            why = "nothing was looked at on this date yet"
        elif due_ms is not None and due_ms <= self._parts.clock.now_ms():
            why = "periods are due"
        elif self._parts.periods.why_waiting:
            why = self._parts.periods.why_waiting
        elif self._parts.webhooks is not None:
            why = self._parts.webhooks.behind()
        if why:
            self._bell.set()
        return Activity(not why, self._work + self._parts.periods.work, due_ms if not why else None, (), why or "idle")

    def step(self) -> int:
        """One look; says how much was done."""
        parts = self._parts
        self._confirm()
        now_ms = parts.clock.now_ms()
        parts.notifications.recall()
        done = self._receive()
        if now_ms >= parts.notifications.next_poll_ms and self._webhooks_read():
            self._in_hand = True
            self._hints |= parts.notifications.poll(now_ms)
            done += 1
        due = set(parts.periods.due(now_ms)) | self._hints
        if due:
            self._in_hand = True
            failures = parts.periods.look(due, now_ms)
            self._hints -= due
            done += len(due)
            self._unread = f"{failures} customers could not be read" if failures else None
        # What was flushed can be compared now, and what was captured can be judged.
        ready = parts.flushing.step(now_ms) | parts.periods.capture(now_ms)
        self._hints |= ready
        done += len(ready)
        if done:
            self._show()
        self._work += done
        self._looked_ms = now_ms
        self._trouble = self._unconfirmed or self._unread or parts.notifications.trouble
        self._in_hand = False
        return done

    def _confirm(self) -> None:
        """Make sure of the account. While Stripe does not say, readers refuse: notifications, flushes and closes go on without them."""
        own = self._parts.own
        # Each time may take as long as Stripe keeps us waiting, and what goes on meanwhile must not take that long.
        if own is not None and time.monotonic() >= self._confirm_at:
            before, self._unconfirmed = self._unconfirmed, own.why_not_yet(self._parts.session)
            if self._unconfirmed is not None:
                self._confirm_at = time.monotonic() + AFTER_FAILURE_SECONDS
            elif before is not None:
                # What was judged unread is read now, and not at its next date.
                self._parts.notifications.next_poll_ms = 0
                self._parts.periods.look_at_all(self._parts.clock.now_ms())

    def _receive(self) -> int:
        topic = self._parts.webhooks
        if topic is None:
            return 0
        received = self._received = self._received or topic.read(0.05)
        if received.webhooks:
            self._hints |= self._parts.notifications.keep(received.webhooks)
        # Kept until then: the client stands behind it, and the next commit of its partitions would pass over it.
        self._received = None
        topic.commit(received)
        return len(received.webhooks)

    def _webhooks_read(self) -> bool:
        """Whether the poll finds what no webhook brought: what lies unread on their topic was not missed.

        A topic that can't be read holds the poll up for a minute only, since then nothing else tells what Stripe did.
        """
        topic = self._parts.webhooks
        if topic is None or not topic.behind():
            self._behind_since = None
            return True
        now_seconds = time.monotonic()
        if self._behind_since is None:
            self._behind_since = now_seconds
        return now_seconds - self._behind_since > POLL_ANYWAY_SECONDS

    def _due_ms(self) -> int | None:
        parts = self._parts
        dates = (parts.periods.next_due_ms(), parts.notifications.next_poll_ms, parts.flushing.next_due_ms)
        return min([at_ms for at_ms in dates if at_ms is not None], default=None)

    def _show(self) -> None:
        registry = self._parts.registry
        closing_ms = self._parts.periods.closing_deadline_ms
        found = self._parts.session.run(periods.deadlines) | ({} if closing_ms is None else {"closing": closing_ms})
        registry.replace(DEADLINE, {(state,): at_ms / 1_000 for state, at_ms in found.items() if state in SHOWN_STATES})
        lately = self._parts.session.run(periods.lately_not_provable)
        registry.replace(NOT_PROVABLE, {(currency,): count for currency, (count, _) in lately.items()})
        registry.replace(NOT_PROVABLE_WORTH, {(currency,): float(amount_minor) for currency, (_, amount_minor) in lately.items()})

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._bell.clear()
            pause = LOOK_SECONDS
            try:
                done = self.step()
            except Transient as away:
                self._trouble = str(away)
                self._log.warning("looking again", why=self._trouble)
                done, pause = 0, AFTER_FAILURE_SECONDS
            except Broken as broken:
                self._broken = str(broken)
                self._log.critical("periods stopped", why=self._broken)
                self._in_hand = False
                return
            except Restart as failure:
                self._trouble = str(failure)
                self._in_hand = True
                self.failure = failure
                self._end()
                return
            except Exception as error:  # a bug in one look must not end the thread in silence; it is logged and tried again
                self._trouble = f"{type(error).__name__}: {error}"
                self._log.exception("look failed")
                done, pause = 0, AFTER_FAILURE_SECONDS
            if not done:
                self._bell.wait(pause)


def together(reading: Activity, keeping: Activity) -> Activity:
    """Idle when both are; the work of both only grows, so does its sum."""
    dues = [due for due in (reading.next_due_ms, keeping.next_due_ms) if due is not None]
    return Activity(
        idle=reading.idle and keeping.idle,
        work=reading.work + keeping.work,
        next_due_ms=min(dues, default=None),
        owns=(*reading.owns, *keeping.owns),
        why=f"reading: {reading.why}; periods: {keeping.why}",
    )


def both(reading: Health, keeping: Health) -> Health:
    """Well when both are; why says which is not."""
    return Health(reading.ok and keeping.ok, f"{reading.why}; {keeping.why}")
