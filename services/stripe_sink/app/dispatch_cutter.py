"""The cutter's rounds: look, cut under the barrier when it is worth it, make intents of what is due."""

from __future__ import annotations

import time

from services.stripe_sink.core.dispatch_intent import draft
from services.stripe_sink.core.dispatch_wait import should_cut
from services.stripe_sink.metrics.dispatch import INTENTS_CUT
from trueup.contracts.errors import Broken
from trueup.ledger.store import deployment, flush
from trueup.ledger.store.dispatch import cuts, lanes
from trueup.ledger.store.session import Connection, Session
from trueup.runtime import log
from trueup.runtime.metrics import Registry

MOST_INTENTS_AT_ONCE = 500
MOST_WAIVED_AT_ONCE = 10_000  # postings: a fraction of a second of the ten that the barrier may be held
# Waiting segments are judged again this often, for mappings that were numbered before but committed after the last judgement.
BETWEEN_JUDGEMENTS_SECONDS = 2.0


class Cutter:
    """One round at a time; several sinks may run one each."""

    def __init__(self, session: Session, writer: str, registry: Registry) -> None:
        self._session = session
        self._writer = writer
        self._registry = registry
        self._account: str | None = None
        self._cut_at_seconds = 0.0
        self._judged_at_seconds = 0.0
        self._look_for_boundaries = True
        self._log = log.get("dispatch").bind(holder=writer)

    def step(self) -> int:
        """Do what is due; says how many intents were made and segments waived."""
        return self._session.run(self._round)

    def _round(self, connection: Connection) -> int:
        # Disarmed means that nobody calls Stripe: what waits is still known, and what misses its deadline still becomes a case.
        state = cuts.state(connection)
        self._judge(connection, state)
        self._cut(connection, state)
        if self._look_for_boundaries:
            self._look_for_boundaries = False
            if cuts.split(connection, self._writer):
                return 1
        waived = cuts.waive(connection, self._writer, MOST_WAIVED_AT_ONCE) if state.to_waive else 0
        flush.hasten(connection)
        made = lanes.expire(connection, self._writer)
        while covered := self._make_intents(connection, state):
            made += covered
        if made:
            self._registry.increase(INTENTS_CUT, made)
        return made + waived

    def _judge(self, connection: Connection, state: cuts.State) -> None:
        now_seconds = time.monotonic()
        if not state.judged:
            cuts.judge(connection)
            self._look_for_boundaries = True
        elif now_seconds - self._judged_at_seconds > BETWEEN_JUDGEMENTS_SECONDS:
            cuts.judge_waiting(connection)
            self._judged_at_seconds = now_seconds

    def _cut(self, connection: Connection, state: cuts.State) -> None:
        if state.newest_batch <= state.discovered_through:
            return
        now_seconds = time.monotonic()
        if flush.uncut(connection) or should_cut(
            newest_batch=state.newest_batch,
            discovered_through=state.discovered_through,
            fresh_due_ms=cuts.fresh_due_ms(connection, state.discovered_through),
            now_ms=state.now_ms,
            seconds_since_cut=now_seconds - self._cut_at_seconds,
        ):
            self._cut_at_seconds = now_seconds
            self._look_for_boundaries |= cuts.discover(connection, cuts.cut(connection))

    def _make_intents(self, connection: Connection, state: cuts.State) -> int:
        """Make intents of what was due when the round began.

        What becomes due in mid-round may have usage behind the last cut: cut now, it would go out in two parts.
        """
        covered = cuts.coverages(connection, MOST_INTENTS_AT_ONCE, state.now_ms)
        if not covered:
            return 0
        account = self._stripe_account(connection, armed=state.armed)
        for item in covered:
            if item.set_aside_as is not None:
                self._log.error("set aside", why=item.set_aside_as, subject=item.subject_id, segment_start=item.segment_start_ms)
        drafts = [draft(item, stripe_account=account) for item in covered if item.events]
        made = cuts.make_intents(connection, drafts, [item for item in covered if not item.events], self._writer)
        # What another cutter judged, and this one did not look at, may have to be divided before.
        self._look_for_boundaries |= made < len(drafts)
        return made

    def _stripe_account(self, connection: Connection, *, armed: bool) -> str:
        if self._account is None:
            held = deployment.held(connection)
            if held is None and armed:
                raise Broken("dispatch is armed, but the ledger does not say for which Stripe account")
            if held is None:
                return ""  # never armed: what is cut has missed its deadline and is sent to nobody
            self._account = held.stripe_account
        return self._account
