"""What Stripe tells by itself: notifications kept by event id, and the gaps between them closed by asking."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.reconciler.core.webhooks import NOTHING_TOLD, Event, Folded, event_of, fold, hinted
from services.reconciler.metrics import EVENTS_MISSED, EVENTS_MISSED_LAST, METER_EVENTS_REJECTED, WEBHOOK_LAST, WEBHOOKS
from services.reconciler.ports import EventReads
from trueup.contracts.errors import Broken, Poison, Transient
from trueup.contracts.webhooks import StripeWebhook, read_event
from trueup.ledger.store import deployment, periods
from trueup.ledger.store.periods import ToldEvent
from trueup.ledger.store.session import Session
from trueup.runtime import log
from trueup.runtime.metrics import Registry

DAY_MS = 86_400_000
# Stripe lists events for 30 days.
LISTED_MS = 30 * DAY_MS
# What is younger may still be on its way by webhook.
ON_ITS_WAY_MS = 5 * 60_000
# Each poll looks back over the last one's end: events are listed a moment after their date.
OVERLAP_MS = 60 * 60_000
AGAIN_MS = 60_000
ERROR_REPORT = "v1.billing.meter.error_report_triggered"


class Notifications:
    """Keeps what is told, and says whose subscriptions and invoices must be read again because of it."""

    def __init__(self, session: Session, stripe: EventReads, poll_seconds: int, registry: Registry | None = None) -> None:
        self._session = session
        self._stripe = stripe
        self._poll_ms = poll_seconds * 1_000
        self._registry = registry
        self._log = log.get("notifications")
        self.told: Folded = NOTHING_TOLD
        self._recalled = False
        self.next_poll_ms = 0
        self.trouble: str | None = None  # why gaps between notifications are not closed

    def recall(self) -> None:
        """Show when the last notification came before this process began, once: a silence must not end with a restart."""
        if self._recalled:
            return
        last_ms = self._session.run(periods.last_webhook_ms)
        if self._registry is not None and last_ms is not None:
            self._registry.set(WEBHOOK_LAST, last_ms / 1_000)
        self._recalled = True

    def keep(self, webhooks: Sequence[StripeWebhook]) -> frozenset[str]:
        """Keep notifications; gives the customers they hint at. One of another mode halts: it is not about these books."""
        held = self._session.run(deployment.held)
        told, events = [], []
        for webhook in webhooks:
            if held is not None and webhook.livemode is not held.livemode:
                raise Broken(f"webhook {webhook.event_id} is of another mode than this deployment's")
            try:
                event = event_of(read_event(webhook.body))
            except Poison as fault:
                # Its bytes stay on the topic. The others of its batch are not its fault.
                self._log.error("a notification cannot be read", notification=webhook.event_id, type=webhook.type, why=str(fault))
                self._unreadable(1)
                continue
            events.append(event)
            told.append(_told(event, webhook.created_ms, webhook.received_at_ms, "webhook", webhook.body.decode()))
        new = self._session.run(lambda connection: periods.record_told(connection, told))
        self._count(webhooks, len(told), len(new))
        if any(event.type == ERROR_REPORT for event in events):
            # A notification does not carry what it reports.
            self.next_poll_ms = 0
        return self._fold(events, new)

    def poll(self, now_ms: int) -> frozenset[str]:
        """Ask for the events of the last days that no webhook brought; gives the customers they hint at."""
        last_ms = self._session.run(periods.polled_ms)
        since_ms = max(now_ms - LISTED_MS, 0 if last_ms is None else last_ms - OVERLAP_MS)
        until_ms = now_ms - ON_ITS_WAY_MS
        # Each by itself: a key that may not read the one closes the gaps of the other.
        reported = self._answered(lambda: self._read_reports(now_ms))
        listed: list[Mapping[str, Any]] = []
        if not self._answered(lambda: listed.extend(self._stripe.events(since_ms))):
            # Nothing is lost: the next poll begins where the last one that was answered ended.
            self.next_poll_ms = now_ms + AGAIN_MS
            return frozenset()
        bodies = [body for body in listed if int(body["created"]) * 1_000 <= until_ms]
        events = [event_of(body) for body in bodies]
        told = [
            _told(event, event.created_ms, now_ms, "poll", json.dumps(body, default=str))
            for event, body in zip(events, bodies, strict=True)
        ]
        new = self._session.run(lambda connection: periods.record_told(connection, told))
        # What the first poll of all finds is from before anybody listened.
        missed = 0 if last_ms is None else len(new)
        missed_at_ms = self._session.run(lambda connection: periods.store_poll(connection, until_ms, missed))
        if self._registry is not None and missed_at_ms is not None:
            self._registry.set(EVENTS_MISSED_LAST, missed_at_ms / 1_000)
        if missed:
            self._log.warning("polling found events that no webhook had brought", missed=missed, since_ms=since_ms)
            if self._registry is not None:
                self._registry.increase(EVENTS_MISSED, missed)
        self.next_poll_ms = (now_ms // self._poll_ms + 1) * self._poll_ms if reported else now_ms + AGAIN_MS
        if reported:
            self.trouble = None
        return self._fold(events, new) if new else frozenset()

    def _answered(self, read: Callable[[], None]) -> bool:
        try:
            read()
        except Transient as missing:
            self.trouble = str(missing)
            self._log.warning(self.trouble)
            return False
        return True

    def _read_reports(self, now_ms: int) -> None:
        """What Stripe refused after its 2xx: only these reports say which and why, and no list of usual events has them."""
        newest_ms = self._session.run(periods.newest_report_ms)
        since_ms = max(now_ms - LISTED_MS, 0 if newest_ms is None else newest_ms - OVERLAP_MS)
        reports = self._stripe.error_reports(since_ms)
        for report in self._session.run(lambda connection: periods.record_reports(connection, reports)):
            said = {"report": report.event_id, "meter": report.stripe_meter_id, "events": report.error_count, "codes": report.codes}
            self._log.error("Stripe refused meter events that it had received", **said)
            if self._registry is not None:
                self._registry.increase(METER_EVENTS_REJECTED, report.error_count)

    def _fold(self, events: Sequence[Event], new: Sequence[ToldEvent]) -> frozenset[str]:
        before, self.told = self.told, fold(self.told, events)
        # One that was not known hints, also where another of its object stands: within one second ids say nothing of the order. So does a
        # known one that moves what stands: it was kept by a call whose answer was lost, or by an earlier life of this room.
        unknown = {one.event_id for one in new}
        return hinted([event for event in events if event.event_id in unknown or self._moved(before, event)])

    def _moved(self, before: Folded, event: Event) -> bool:
        return event.object_id is None or before.get(event.object_id) != self.told.get(event.object_id)

    def _unreadable(self, records: int) -> None:
        if self._registry is not None:
            self._registry.increase(WEBHOOKS, records, outcome="unreadable")

    def _count(self, webhooks: Sequence[StripeWebhook], told: int, new: int) -> None:
        if self._registry is None or not webhooks:
            return
        self._registry.increase(WEBHOOKS, new, outcome="new")
        self._registry.increase(WEBHOOKS, told - new, outcome="known")
        self._registry.set(WEBHOOK_LAST, max(webhook.received_at_ms for webhook in webhooks) / 1_000)


def _told(event: Event, created_ms: int, received_at_ms: int, via: str, body: str) -> ToldEvent:
    # jsonb holds no NUL; the bytes themselves stay on the topic.
    kept = body.replace("\\u0000", "\\ufffd")
    return ToldEvent(event.event_id, event.type, event.object_id, event.stripe_customer, created_ms, received_at_ms, via, kept)
