"""Trouble on request: which of the coming requests fails, and how."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
from dataclasses import dataclass
from typing import Any

BEFORE = frozenset({"429", "lock_timeout", "500_before", "drop_before"})
_REQUEST_KINDS = BEFORE | {"500_after", "drop_after", "delay", "reject"}
# A webhook is troubled when its event happens, or at each attempt to deliver it.
WEBHOOK_EVENT, WEBHOOK_ATTEMPT = "WEBHOOK_EVENT", "WEBHOOK_ATTEMPT"
WEBHOOK_PREFIX = "webhook:"
_KINDS_OF = {
    WEBHOOK_EVENT: frozenset({"delay", "twin"}),
    WEBHOOK_ATTEMPT: frozenset({"drop", "duplicate", "forged", "future", "lose", "stale"}),
}
KINDS = _REQUEST_KINDS.union(*_KINDS_OF.values())


@dataclass(frozen=True, slots=True)
class Fault:
    """One order of trouble: the next ``count`` requests to ``path`` that it chooses get ``kind``."""

    path: str
    kind: str
    count: int | None = 1
    method: str | None = None
    body_contains: str | None = None
    skip: int = 0
    every: int = 1
    probability: float = 1.0
    seed: int = 0
    seconds: float = 1.0
    stored: bool | None = None

    def stores_answer(self) -> bool:
        """Say whether a 500 is saved under the idempotency key: one after the work is, one before it is not, unless ordered otherwise."""
        return self.kind == "500_after" if self.stored is None else self.stored

    def concerns(self, method: str, path: str, body: str) -> bool:
        """Say whether a request is of the kind this fault looks for."""
        if self.kind not in _KINDS_OF.get(method, _REQUEST_KINDS) or path.startswith(WEBHOOK_PREFIX) != self.path.startswith(
            WEBHOOK_PREFIX
        ):
            return False
        if self.method is not None and self.method != method:
            return False
        return fnmatch.fnmatchcase(path, self.path) and (self.body_contains is None or self.body_contains in body)


def fault_from(order: Any) -> Fault:
    """Read one order of trouble from JSON; ValueError says what is wrong with it."""
    if not isinstance(order, dict):
        raise ValueError("a fault is an object with path, kind and count")
    wishes = dict(order)
    for name in ("path", "kind"):
        if not isinstance(wishes.get(name), (str, int)):
            raise ValueError(f"a fault needs {name}")
    wishes["kind"] = str(wishes["kind"])
    if wishes["kind"] not in KINDS:
        raise ValueError(f"kind is one of {', '.join(sorted(KINDS))}, not {wishes['kind']!r}")
    unknown = set(wishes) - set(Fault.__dataclass_fields__)
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
    # Without a count, a fault with a probability lasts until it is taken away, any other happens once.
    wishes.setdefault("count", None if "probability" in wishes else 1)
    fault = Fault(**wishes)
    if fault.every < 1 or fault.skip < 0 or not 0 <= fault.probability <= 1 or fault.seconds < 0 or (fault.count or 0) < 0:
        raise ValueError("every is at least 1, probability between 0 and 1, and nothing is negative")
    return fault


@dataclass(slots=True)
class _Standing:
    """A fault, how far it has come, and how many requests under way hold one of its strikes."""

    fault: Fault
    left: int | None
    held: int = 0
    seen: int = 0

    def can_strike(self) -> bool:
        """Say whether a strike is left that no request under way holds."""
        return self.left is None or self.left > self.held


class FaultPlan:
    """The faults in force, in the order they were asked for; the first that fits a request takes it.

    A request first holds a strike, then uses it, or gives it back when it gave no occasion for it. The numbers of
    faults are never used again, so a request under way may outlive its fault.
    """

    def __init__(self) -> None:
        self._standing: dict[int, _Standing] = {}
        self._attempts: dict[str, int] = {}
        self._number = 0

    def clear(self) -> None:
        """Take all faults away."""
        self._standing = {}

    def add(self, faults: list[Fault]) -> None:
        """Put more faults in force, behind those that stand."""
        for fault in faults:
            self._number += 1
            self._standing[self._number] = _Standing(fault, fault.count)

    def hold(self, method: str, path: str, body: str, subject: str) -> tuple[int, Fault] | None:
        """Choose the fault of a request, with the number that names it to the other methods."""
        attempt: int | None = None
        for number, standing in self._standing.items():
            if not standing.can_strike() or not standing.fault.concerns(method, path, body):
                continue
            if standing.fault.probability < 1 and attempt is None:
                attempt = self._next_attempt(f"{method} {path} {subject}")
            standing.seen += 1
            if _chooses(standing, number, f"{method} {path} {subject} {attempt}"):
                standing.held += 1
                return number, standing.fault
        return None

    def _next_attempt(self, request: str) -> int:
        self._attempts[request] = self._attempts.get(request, 0) + 1
        return self._attempts[request]

    def use(self, number: int) -> None:
        """Use a strike up."""
        standing = self._standing.get(number)
        if standing is None:
            return
        standing.held = max(standing.held - 1, 0)
        if standing.left is not None:
            standing.left -= 1

    def give_back(self, number: int) -> None:
        """Give a strike back: the request gave no occasion for it."""
        standing = self._standing.get(number)
        if standing is not None:
            standing.held -= 1

    def remaining(self) -> list[dict[str, Any]]:
        """List the faults that can still strike, with the count left."""
        return [
            {**dataclasses.asdict(standing.fault), "count": standing.left} for standing in self._standing.values() if standing.left != 0
        ]


def _chooses(standing: _Standing, number: int, request: str) -> bool:
    fault = standing.fault
    if standing.seen <= fault.skip or (standing.seen - fault.skip) % fault.every:
        return False
    if fault.probability >= 1:
        return True
    # Drawn from the request itself, so that the order in which clients call changes nothing.
    digest = hashlib.blake2b(f"{fault.seed} {number} {fault.kind} {request}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < fault.probability
