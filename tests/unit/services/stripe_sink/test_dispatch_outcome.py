"""The table of outcomes: every answer we know of, and that nothing falls through it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stripe_sink.core.dispatch_outcome import Answer, Asked, Decision, OutcomeClass, Reached, Scope, classify

IDENTIFIER = "trueup-abc"
FIRST = Asked(IDENTIFIER, livemode=False, earlier_may_have_arrived=False)
AGAIN = Asked(IDENTIFIER, livemode=False, earlier_may_have_arrived=True)


def make_event(**others: object) -> dict[str, object]:
    """The body of a good answer."""
    return {"object": "billing.meter_event", "identifier": IDENTIFIER, "livemode": False, **others}


def make_error(message: str = "no", **others: object) -> dict[str, object]:
    """The body of a bad one."""
    return {"error": {"type": "invalid_request_error", "message": message, **others}}


def answered(status: int, content: object) -> Answer:
    """An answer that came whole."""
    return Answer(Reached.ANSWERED, status, content)


TAKEN = f"An event already exists with identifier {IDENTIFIER}."
TABLE: list[tuple[Answer, Asked, str, bool, Scope]] = [
    (answered(200, make_event()), FIRST, "ack", True, Scope.NOTHING),
    (answered(200, make_event()), AGAIN, "ack", True, Scope.NOTHING),
    (answered(200, make_event(livemode=True)), FIRST, "halt", True, Scope.SINK),
    (answered(200, make_event(livemode=None)), FIRST, "halt", True, Scope.SINK),
    (answered(200, make_event(identifier="other")), FIRST, "halt", True, Scope.LANE),
    (answered(200, None), FIRST, "unknown", True, Scope.NOTHING),
    (answered(200, []), FIRST, "unknown", True, Scope.NOTHING),
    (answered(200, {"ok": True}), FIRST, "halt", True, Scope.LANE),
    (answered(201, make_event()), FIRST, "halt", True, Scope.LANE),
    (answered(302, None), FIRST, "halt", True, Scope.LANE),
    (answered(400, make_error(TAKEN)), AGAIN, "ack_duplicate", True, Scope.NOTHING),
    (answered(400, make_error(TAKEN)), FIRST, "halt", False, Scope.LANE),
    (answered(400, make_error(TAKEN[:-1])), AGAIN, "ack_duplicate", True, Scope.NOTHING),
    (answered(400, make_error("An event already exists with identifier other.")), AGAIN, "halt", True, Scope.LANE),
    (answered(400, make_error('No active meter found for event name "x".')), FIRST, "reject", False, Scope.NOTHING),
    (answered(400, make_error('No active meter found for event name "x".')), AGAIN, "unknown", False, Scope.NOTHING),
    (answered(400, make_error("Keys for idempotent requests", type="idempotency_error")), FIRST, "halt", True, Scope.LANE),
    (answered(400, None), FIRST, "unknown", True, Scope.NOTHING),
    (answered(401, make_error()), FIRST, "halt", False, Scope.SINK),
    (answered(403, None), FIRST, "halt", False, Scope.SINK),
    (answered(402, make_error()), FIRST, "halt", True, Scope.LANE),
    (answered(404, make_error(code="resource_missing")), FIRST, "halt", False, Scope.LANE),
    (answered(409, make_error(code="too_many_concurrent_requests")), FIRST, "retry", False, Scope.NOTHING),
    (
        answered(409, make_error(message="Cannot create multiple usage events for the same customer, meter concurrently.")),
        FIRST,
        "retry",
        False,
        Scope.NOTHING,
    ),
    (answered(409, make_error(code="idempotency_key_in_use")), FIRST, "unknown", True, Scope.NOTHING),
    (answered(409, make_error()), FIRST, "halt", True, Scope.LANE),
    (answered(429, make_error(code="rate_limit")), FIRST, "retry", False, Scope.NOTHING),
    (answered(429, make_error(code="lock_timeout")), FIRST, "retry", False, Scope.NOTHING),
    (answered(429, None), AGAIN, "retry", False, Scope.NOTHING),
    (answered(500, make_error()), FIRST, "unknown", True, Scope.NOTHING),
    (answered(502, None), FIRST, "unknown", True, Scope.NOTHING),
    (Answer(Reached.NOT_CONNECTED), FIRST, "retry", False, Scope.NOTHING),
    (Answer(Reached.NOT_CALLED), AGAIN, "retry", False, Scope.NOTHING),
    (Answer(Reached.LOST), FIRST, "unknown", True, Scope.NOTHING),
    (Answer(Reached.INEXPLICABLE), FIRST, "halt", True, Scope.LANE),
]


@pytest.mark.parametrize(("answer", "asked", "outcome", "arrived", "halts"), TABLE)
def test_classify_known_answer_is_as_the_table_says(answer: Answer, asked: Asked, outcome: str, arrived: bool, halts: Scope) -> None:
    """What each answer means, whether the usage may have arrived by it, and what it stops."""
    decision = classify(answer, asked)
    assert (decision.outcome, decision.may_have_arrived, decision.halts) == (outcome, arrived, halts)


def test_refusal_after_an_unknown_answer_is_settled_by_reading() -> None:
    """A meter may be archived after the first call was taken: a refusal then says nothing about that call."""
    decision = classify(answered(400, make_error("no such meter")), AGAIN)
    assert decision.settle_by_reading and not decision.final
    assert not classify(answered(400, make_error("no such meter")), FIRST).settle_by_reading


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["error", "object", "identifier", "code", "x"]), inner),
    max_leaves=6,
)


@given(
    answer=st.builds(Answer, st.sampled_from(Reached), st.none() | st.integers(100, 599), _json, st.none(), st.text(max_size=5)),
    earlier=st.booleans(),
)
def test_classify_whatever_comes_is_decided_on_the_safe_side(answer: Answer, earlier: bool) -> None:
    """No answer raises; only a true echo is an ack; a call that was answered or lost is forgotten only for a known reason."""
    decision: Decision = classify(answer, Asked(IDENTIFIER, False, earlier))
    if decision.outcome is OutcomeClass.ACK:
        assert answer.http_status == 200 and answer.field("identifier") == IDENTIFIER
    if decision.outcome is OutcomeClass.ACK_DUPLICATE:
        assert earlier
    if not decision.may_have_arrived and answer.http_status is not None and answer.reached is Reached.ANSWERED:
        assert answer.http_status in (400, 401, 403, 404, 409, 429)
    if decision.outcome is OutcomeClass.HALT:
        assert decision.halts is not Scope.NOTHING
