"""What an answer of Stripe means for the intent it was asked for: a table that is read from the top, and ends in `halt`.

Two questions decide everything: is it settled, and may the usage have arrived? Only a call that surely did not arrive
may be forgotten; every other one starts the clock of the horizon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

DUPLICATE_MESSAGE = "An event already exists with identifier "
CONCURRENT_MESSAGE = "Cannot create multiple usage events"


class Reached(StrEnum):
    """How far a call came, as far as we can know."""

    NOT_CONNECTED = "not_connected"  # refused, no route, no such host: nothing was sent
    NOT_CALLED = "not_called"  # our lease was too short to start it
    LOST = "lost"  # time-out, reset, half an answer: it may have been carried out
    ANSWERED = "answered"
    INEXPLICABLE = "inexplicable"  # the client failed in a way that says nothing


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one call, as plain values."""

    reached: Reached
    http_status: int | None = None
    content: object = None  # the decoded JSON; None when the body was none
    request_id: str | None = None
    message: str = ""  # of a failure below HTTP

    def field(self, name: str) -> object:
        """A field of the answered object, None where there is none."""
        return self.content.get(name) if isinstance(self.content, dict) else None

    def error(self, name: str) -> str | None:
        """A text field of Stripe's error object, None where there is none."""
        error = self.field("error")
        value = error.get(name) if isinstance(error, dict) else None
        return value if isinstance(value, str) else None

    def is_stripe_error(self) -> bool:
        """Whether this is an error as Stripe words them, and not a proxy's page."""
        return isinstance(self.field("error"), dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known about the call that an answer belongs to."""

    identifier: str
    livemode: bool  # of the deployment
    earlier_may_have_arrived: bool  # an attempt before this one, for the very same intent


class OutcomeClass(StrEnum):
    """The closed list of the ledger; `zero` and `settled` are outcomes without a call."""

    ACK = "ack"
    ACK_DUPLICATE = "ack_duplicate"
    REJECT = "reject"
    RETRY = "retry"
    UNKNOWN = "unknown"
    HALT = "halt"


class Scope(StrEnum):
    """What a halt stops."""

    NOTHING = "nothing"
    LANE = "lane"
    SINK = "sink"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is recorded and done about one answer."""

    outcome: OutcomeClass
    may_have_arrived: bool
    reason: str
    halts: Scope = Scope.NOTHING
    settle_by_reading: bool = False  # sending again would tell us nothing

    @property
    def final(self) -> bool:
        """Whether it moves the quantity out of in_flight."""
        return self.outcome in (OutcomeClass.ACK, OutcomeClass.ACK_DUPLICATE, OutcomeClass.REJECT)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table."""

    when: Callable[[Answer, Asked], bool]
    then: Decision


def _is_event(answer: Answer, _asked: Asked) -> bool:
    return answer.http_status == 200 and answer.field("object") == "billing.meter_event"


def _echoes(answer: Answer, asked: Asked) -> bool:
    return _is_event(answer, asked) and answer.field("identifier") == asked.identifier


def _is_duplicate(answer: Answer, asked: Asked) -> bool:
    message = answer.error("message") or ""
    return answer.http_status == 400 and message.rstrip(".") == DUPLICATE_MESSAGE + asked.identifier


def _is_refusal(answer: Answer, _asked: Asked) -> bool:
    if answer.error("type") == "idempotency_error" or (answer.error("message") or "").startswith(DUPLICATE_MESSAGE):
        return False
    return answer.http_status == 400 and answer.is_stripe_error()


def _is_concurrent(answer: Answer, _asked: Asked) -> bool:
    """By its code, which is documented for the second API only, or by its words."""
    told = answer.error("code") == "too_many_concurrent_requests" or (answer.error("message") or "").startswith(CONCURRENT_MESSAGE)
    return answer.http_status == 409 and told


def _status(*statuses: int) -> Callable[[Answer, Asked], bool]:
    return lambda answer, _asked: answer.http_status in statuses


def _reached(*reached: Reached) -> Callable[[Answer, Asked], bool]:
    return lambda answer, _asked: answer.reached in reached


def _code(status: int, code: str) -> Callable[[Answer, Asked], bool]:
    return lambda answer, _asked: answer.http_status == status and answer.error("code") == code


def _arrived_before(when: Callable[[Answer, Asked], bool]) -> Callable[[Answer, Asked], bool]:
    return lambda answer, asked: asked.earlier_may_have_arrived and when(answer, asked)


def _garbled(answer: Answer, _asked: Asked) -> bool:
    """A success or a refusal without Stripe's words: half a body, or a page that something on the way put there."""
    return answer.http_status in (200, 400) and not isinstance(answer.content, dict)


def _decision(
    outcome: OutcomeClass, *, arrived: bool, reason: str, halts: Scope = Scope.NOTHING, settle_by_reading: bool = False
) -> Decision:
    return Decision(outcome, arrived, reason, halts, settle_by_reading)


_C = OutcomeClass
RULES: tuple[Rule, ...] = (
    Rule(_reached(Reached.NOT_CONNECTED), _decision(_C.RETRY, arrived=False, reason="not_connected")),
    Rule(_reached(Reached.NOT_CALLED), _decision(_C.RETRY, arrived=False, reason="not_called")),
    Rule(_reached(Reached.LOST), _decision(_C.UNKNOWN, arrived=True, reason="answer_lost")),
    Rule(_reached(Reached.INEXPLICABLE), _decision(_C.HALT, arrived=True, reason="client_failed", halts=Scope.LANE)),
    # An answer of another mode means that we hold another account's key: nothing this process sends is right.
    Rule(
        lambda answer, asked: _is_event(answer, asked) and answer.field("livemode") is not asked.livemode,
        _decision(_C.HALT, arrived=True, reason="other_mode", halts=Scope.SINK),
    ),
    Rule(_echoes, _decision(_C.ACK, arrived=True, reason="received")),
    Rule(_is_event, _decision(_C.HALT, arrived=True, reason="other_identifier_echoed", halts=Scope.LANE)),
    Rule(_garbled, _decision(_C.UNKNOWN, arrived=True, reason="garbled_answer")),
    Rule(_status(401, 403), _decision(_C.HALT, arrived=False, reason="unauthorized", halts=Scope.SINK)),
    # 429 and `lock_timeout` are given before anything is done.
    Rule(_status(429), _decision(_C.RETRY, arrived=False, reason="rate_limited")),
    Rule(_is_concurrent, _decision(_C.RETRY, arrived=False, reason="concurrent")),
    # Our own call from before is still running there.
    Rule(_code(409, "idempotency_key_in_use"), _decision(_C.UNKNOWN, arrived=True, reason="key_in_use")),
    Rule(
        lambda answer, _asked: answer.http_status is not None and answer.http_status >= 500,
        _decision(_C.UNKNOWN, arrived=True, reason="server_error"),
    ),
    Rule(_arrived_before(_is_duplicate), _decision(_C.ACK_DUPLICATE, arrived=True, reason="arrived_before")),
    # Nothing of ours can have made it: somebody else used our identifier, or this ledger forgot what it sent.
    Rule(_is_duplicate, _decision(_C.HALT, arrived=False, reason="identifier_taken", halts=Scope.LANE)),
    # Refused now, but what was sent before may have been taken (a meter can be archived in between): only a reading can tell.
    Rule(_arrived_before(_is_refusal), _decision(_C.UNKNOWN, arrived=False, reason="refused_after_unknown", settle_by_reading=True)),
    Rule(_is_refusal, _decision(_C.REJECT, arrived=False, reason="refused")),
    Rule(_status(404), _decision(_C.HALT, arrived=False, reason="not_found", halts=Scope.LANE)),
)
UNEXPLAINED = _decision(_C.HALT, arrived=True, reason="unclassified_answer", halts=Scope.LANE)


def classify(answer: Answer, asked: Asked) -> Decision:
    """Say what an answer means. Total: what fits no rule halts its lane, and may have arrived."""
    for rule in RULES:
        if rule.when(answer, asked):
            return rule.then
    return UNEXPLAINED
