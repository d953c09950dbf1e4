"""What an endpoint is given and what it gives back: it decides, the pipeline lets it take effect."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.forms import Parameters
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.state import Object, State

API_VERSION = "2026-10-28.endive"
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and allowed in."""

    state: State
    now_ms: int
    parameters: Parameters
    argument: str = ""
    wished_id: str | None = None
    rejects: bool = False
    expand: frozenset[str] = frozenset()
    idempotency_key: str | None = None

    @property
    def now(self) -> int:
        """The present instant in whole seconds, as Stripe writes dates."""
        return self.now_ms // 1000

    def new_id(self, prefix: str) -> str:
        """Give the id that a set-up door asked for, or a fresh one as Stripe would make it."""
        return self.wished_id or object_id(prefix)

    def needed(self, kind: str, parameter: str = "id") -> Object:
        """Give the object that the address names."""
        found = self.state.find(kind, self.argument)
        if found is None:
            raise errors.no_such(kind, self.argument, parameter, status=404)
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer, and the records that it causes."""

    body: dict[str, Any]
    records: list[Record] = field(default_factory=list)


Endpoint = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """An address, its endpoint and the names of its parameters. ``{id}`` in the address stands for one segment."""

    method: str
    path: str
    endpoint: Endpoint
    accepts: frozenset[str] = frozenset()
    requires: tuple[str, ...] = ()
    expands: frozenset[str] = frozenset()


def object_id(prefix: str) -> str:
    """Make an id such as ``cus_9s6XKzkNRiz8i3``."""
    return f"{prefix}_" + "".join(secrets.choice(_LETTERS) for _ in range(14))


def stored(kind: str, made: Object) -> list[Record]:
    """Make the record that keeps an object."""
    return [{"record": "object", "kind": kind, "object": made}]


def due(clock: str, kind: str, identifier: str, at_ms: int | None) -> Record:
    """Make the record that sets when something happens by itself, on the street's clock or on a test clock."""
    return {"record": "due", "clock": clock, "kind": kind, "id": identifier, "at_ms": at_ms}
