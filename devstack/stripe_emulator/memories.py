"""The two things Stripe remembers for about a day: event identifiers, and answers given under an idempotency key."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)


class IdentifierMemory:
    """Identifiers of accepted events, each until the window has passed since it was received."""

    def __init__(self) -> None:
        self._received_ms: dict[tuple[str, str], int] = {}

    def remember(self, scope: str, identifier: str, received_ms: int) -> None:
        """Remember an identifier, anew if it had been forgotten."""
        key = (scope, identifier)
        self._received_ms.pop(key, None)
        self._received_ms[key] = received_ms

    def knows(self, scope: str, identifier: str, now_ms: int, window_ms: float) -> bool:
        """Say whether an event with this identifier is still remembered."""
        received_ms = self._received_ms.get((scope, identifier))
        return received_ms is not None and now_ms - received_ms < window_ms

    def forget_before(self, instant_ms: float) -> None:
        """Free what is older; the oldest come first."""
        _forget(self._received_ms, instant_ms)


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    """What a request with an idempotency key was answered, to be answered again."""

    fingerprint: str
    status: int
    body: str
    request_id: str


class SavedAnswers:
    """Answers by idempotency key, each until the window has passed."""

    def __init__(self) -> None:
        self._answers: dict[str, SavedAnswer] = {}
        self._saved_ms: dict[str, int] = {}

    def save(self, key: str, answer: SavedAnswer, saved_ms: int) -> None:
        """Keep an answer."""
        self._saved_ms.pop(key, None)
        self._saved_ms[key] = saved_ms
        self._answers[key] = answer

    def find(self, key: str, now_ms: int, window_ms: float) -> SavedAnswer | None:
        """Give the answer saved under a key, unless it has been forgotten."""
        saved_ms = self._saved_ms.get(key)
        if saved_ms is None or now_ms - saved_ms >= window_ms:
            return None
        return self._answers[key]

    def forget_before(self, instant_ms: float) -> None:
        """Free what is older."""
        for key in _forget(self._saved_ms, instant_ms):
            del self._answers[key]


def _forget(moments: dict[_Key, int], instant_ms: float) -> list[_Key]:
    """Drop what is older than an instant from a map in order of time, looking no further than the first that is not."""
    gone = []
    for key, moment in moments.items():
        if moment >= instant_ms:
            break
        gone.append(key)
    for key in gone:
        del moments[key]
    return gone
