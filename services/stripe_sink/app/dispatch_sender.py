"""The senders' rounds: lease lanes, call Stripe once for each, store what the answers mean."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from services.stripe_sink.core.dispatch_intent import canonical, digest, idempotency_key
from services.stripe_sink.core.dispatch_outcome import Answer, Asked, Decision, OutcomeClass, Reached, Scope, classify
from services.stripe_sink.core.dispatch_wait import BackOff
from services.stripe_sink.metrics.dispatch import STRIPE_CALL_SECONDS, STRIPE_CALLS
from services.stripe_sink.ports.stripe import MeterCalls
from trueup.contracts.errors import Transient
from trueup.ledger.access.account import OwnAccount
from trueup.ledger.intents import Call, Pick, Result
from trueup.ledger.store.dispatch import lanes
from trueup.ledger.store.session import Session
from trueup.runtime import log
from trueup.runtime.loop import Stop
from trueup.runtime.metrics import Registry

BETWEEN_STORES_SECONDS = 0.2
LONGEST_MESSAGE = 500
BODY_CHANGED = Decision(OutcomeClass.HALT, False, "body_changed", Scope.LANE)


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """How much one sender takes at once, and for how long."""

    lanes_at_once: int = 8
    lease_seconds: float = 20.0
    back_off: BackOff = field(default_factory=BackOff)


class Sender:
    """One round at a time, in a thread of its own; any number of them, in any number of processes."""

    def __init__(
        self,
        session: Session,
        meters: MeterCalls,
        holder: str,
        own: OwnAccount,
        limits: SenderLimits,
        registry: Registry,
        stop: Stop,
    ) -> None:
        self._session = session
        self._meters = meters
        self._holder = holder
        self._own = own
        self._limits = limits
        self._registry = registry
        self._stop = stop
        self._log = log.get("dispatch").bind(holder=holder)
        self.halted: str | None = None  # why this whole sink may send nothing more

    def step(self) -> int:
        """Send what free lanes have, once it is sure whose key this is; says how many calls were dealt with."""
        own = self._own.confirmed(self._session)
        if own is None:
            return 0
        leased_at = time.monotonic()
        calls = self._session.run(
            lambda connection: lanes.claim(
                connection,
                self._holder,
                lease_seconds=self._limits.lease_seconds,
                most=self._limits.lanes_at_once,
                key_of=_key_of,
            )
        )
        if not calls:
            return 0
        # The lease is counted from before it was asked for, so that ours always ends before the ledger's.
        last_start = leased_at + self._limits.lease_seconds - self._meters.longest_call_seconds
        self._store([self._result(call, last_start, own.livemode) for call in calls])
        return len(calls)

    def _result(self, call: Call, last_start_seconds: float, livemode: bool) -> Result:
        if digest(canonical(call.pick.body)) != call.pick.body_sha256:
            return self._decided(call, Answer(Reached.NOT_CALLED), BODY_CHANGED)
        started = time.monotonic()
        if started > last_start_seconds or self._stop.asked or self.halted or not self._may_send(call.pick):
            answer = Answer(Reached.NOT_CALLED)
        else:
            answer = self._meters.send(call.pick.body, call.idempotency_key)
            self._registry.observe(STRIPE_CALL_SECONDS, time.monotonic() - started)
        asked = Asked(call.pick.identifier, livemode, call.pick.earlier_may_have_arrived)
        return self._decided(call, answer, classify(answer, asked))

    def _may_send(self, pick: Pick) -> bool:
        """Lease and deadline are asked once more, by the ledger's clock: a machine that slept saw no time pass, and a deadline may have
        been learnt since the lane was leased.

        While the ledger does not say, no call is made; the answers of the calls before it are facts, and still to be stored.
        """
        try:
            return self._session.run(lambda connection: lanes.may_send(connection, pick))
        except Transient as away:
            self._log.warning("not called: the ledger does not say whether it is too late", intent=pick.intent_id, why=str(away))
            return False

    def _decided(self, call: Call, answer: Answer, decision: Decision) -> Result:
        if answer.reached is not Reached.NOT_CALLED:
            self._registry.increase(STRIPE_CALLS, outcome=decision.outcome)
        if decision.halts is not Scope.NOTHING:
            self._log.error("halt", why=decision.reason, halts=decision.halts, intent=call.pick.intent_id, status=answer.http_status)
        if decision.halts is Scope.SINK:
            self.halted = decision.reason
        return Result(
            call=call,
            outcome_class=decision.outcome,
            final=decision.final,
            may_have_arrived=decision.may_have_arrived,
            http_status=answer.http_status,
            stripe_code=answer.error("code") or answer.error("type"),
            message=_message(answer, decision),
            request_id=answer.request_id,
            halted_reason=decision.reason if decision.halts is Scope.LANE else None,
            settling=decision.settle_by_reading,
            wait_seconds=self._wait_seconds(call, answer, decision),
        )

    def _wait_seconds(self, call: Call, answer: Answer, decision: Decision) -> float:
        if decision.final or decision.settle_by_reading or answer.reached is Reached.NOT_CALLED:
            return 0.0
        return self._limits.back_off.seconds(call.pick.failures + 1, random.random())

    def _store(self, results: list[Result]) -> None:
        """Store answers, again and again while the ledger is away: they are facts, and only this thread knows them.

        A process that ends here leaves attempts without an answer, which count as unknown.
        """
        while True:
            try:
                self._session.run(lambda connection: lanes.post(connection, results, self._holder))
                return
            except Transient as away:
                self._log.warning("answers not stored yet", why=str(away), answers=len(results))
                if self._stop.wait(BETWEEN_STORES_SECONDS):
                    raise


def _key_of(pick: Pick) -> str:
    return idempotency_key(pick.identifier, pick.server_errors)


def _message(answer: Answer, decision: Decision) -> str | None:
    text = answer.error("message") or answer.message
    if decision.outcome in (OutcomeClass.ACK, OutcomeClass.ACK_DUPLICATE):
        return None
    return f"{decision.reason}: {text}"[:LONGEST_MESSAGE] if text else decision.reason
