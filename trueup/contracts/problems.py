"""What a refusal looks like to its client: RFC 9457, with a JSON pointer for each fault."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MEDIA_TYPE = "application/problem+json"
MOST_FAULTS_SHOWN = 100
_LONGEST_QUOTE = 80
_URN = "urn:trueup:problem:"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where (RFC 6901, in the body as it was sent), a word for programs, a sentence for people."""

    pointer: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A whole answer that refuses."""

    status: int
    name: str
    title: str
    detail: str = ""
    faults: Sequence[Fault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, instance: str) -> bytes:
        """The answer's bytes; `instance` names this very occurrence."""
        told: dict[str, object] = {"type": _URN + self.name, "title": self.title, "status": self.status, "instance": instance}
        if self.detail:
            told["detail"] = self.detail
        if self.faults:
            shown = self.faults[:MOST_FAULTS_SHOWN]
            told["errors"] = [{"pointer": fault.pointer, "code": fault.code, "detail": fault.detail} for fault in shown]
            told["error_count"] = len(self.faults)
        return json.dumps(told).encode()


class Refused(Exception):
    """Ends the handling of a request with this problem."""

    def __init__(self, problem: Problem, events: int = 0) -> None:
        """`events` says how many events it was about, where they were counted."""
        super().__init__(problem.detail or problem.title)
        self.problem = problem
        self.events = events


def step(pointer: str, name: str | int) -> str:
    """The pointer to a member or an item."""
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}" if is_text(str(name)) else pointer


def is_text(text: str) -> bool:
    """Whether a JSON string is text at all: escapes can spell half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else True


def quote(value: object) -> str:
    """A value as a sentence may show it: short, on one line, every strange character escaped."""
    shown = ascii(value)
    return shown if len(shown) <= _LONGEST_QUOTE else f"{shown[:_LONGEST_QUOTE]}…"


def malformed(detail: str) -> Refused:
    """The body is not what its content type says."""
    return Refused(Problem(400, "malformed-body", "The body cannot be read", detail))


def unprocessable(faults: Sequence[Fault], events: int = 0) -> Refused:
    """The body can be read, and says what cannot be taken."""
    detail = f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'}; nothing of this request was taken"
    return Refused(Problem(422, "invalid-content", "The content is not valid", detail, faults), events)


def forbidden(detail: str, faults: Sequence[Fault] = (), events: int = 0) -> Refused:
    """The key is genuine, and does not open this."""
    return Refused(Problem(403, "forbidden", "The key does not allow this", detail, faults), events)


def unauthorized(detail: str) -> Refused:
    """No key, or none that is known."""
    headers = {"WWW-Authenticate": 'Bearer realm="trueup"'}
    return Refused(Problem(401, "unauthorized", "A valid API key is needed", detail, headers=headers))


def unsupported(detail: str) -> Refused:
    """Another content type, or an encoding."""
    return Refused(Problem(415, "unsupported-media-type", "This content type is not taken", detail))


def too_large(limit_bytes: int) -> Refused:
    """More bytes than the door takes."""
    return Refused(Problem(413, "body-too-large", "The body is too large", f"at most {limit_bytes} bytes are taken"))


def other_method(allowed: str) -> Refused:
    """There is such a path, and it is asked for in another way."""
    return Refused(Problem(405, "no-such-door", "Not with this method", headers={"Allow": allowed}))


def unavailable(detail: str, retry_after_seconds: int) -> Refused:
    """Not now. What was sent may have arrived all the same: sending it again is always safe."""
    headers = {"Retry-After": str(retry_after_seconds)}
    return Refused(Problem(503, "unavailable", "Nothing can be taken now", detail, headers=headers))
