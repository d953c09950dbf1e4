"""What Stripe's events tell, whatever order they come in and however often: a fold that neither order nor repetition changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from trueup.contracts.problems import is_text

# Events of one object in one second are told apart by how far they take it.
_RANK: Mapping[str, int] = {"created": 0, "updated": 1, "finalized": 3, "payment_failed": 4, "paid": 5, "payment_succeeded": 5}
_LAST: Mapping[str, int] = {"voided": 6, "marked_uncollectible": 6, "deleted": 7}
_USUAL_RANK = 2
_LONGEST_ID = 255
# What says something of periods, deadlines and invoices.
HINTING = ("customer.subscription.", "invoice.", "subscription_schedule.")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of Stripe, as far as it is looked at."""

    event_id: str
    type: str
    created_ms: int
    object_id: str | None
    stripe_customer: str | None


@dataclass(frozen=True, slots=True, order=True)
class Told:
    """The last that was told of an object; ordered by what decides."""

    created_ms: int
    rank: int
    event_id: str
    type: str = field(compare=False)
    stripe_customer: str | None = field(compare=False)


Folded = Mapping[str, Told]
NOTHING_TOLD: Folded = MappingProxyType({})


def fold(state: Folded, events: Iterable[Event]) -> Folded:
    """Take events in. The newest of each object stands: by its date, then by how far its type takes it, then by its id."""
    held = dict(state)
    for event in events:
        if event.object_id is None:
            continue
        told = Told(event.created_ms, rank_of(event.type), event.event_id, event.type, event.stripe_customer)
        before = held.get(event.object_id)
        if before is None or told > before:
            held[event.object_id] = told
    return MappingProxyType(held)


def rank_of(kind: str) -> int:
    """Say how far an event takes its object."""
    last = kind.rsplit(".", 1)[-1]
    return _LAST.get(last, _RANK.get(last, _USUAL_RANK))


def hinted(events: Iterable[Event]) -> frozenset[str]:
    """Give the Stripe customers whose subscriptions and invoices must be read again."""
    return frozenset(event.stripe_customer for event in events if event.stripe_customer is not None and event.type.startswith(HINTING))


def event_of(body: Mapping[str, Any]) -> Event:
    """Read an event's body, a snapshot or a thin one. What is not shaped as Stripe's is about nothing."""
    found = _object(_object(body.get("data")).get("object")) or _object(body.get("related_object"))
    customer = found.get("customer")
    if isinstance(customer, Mapping):
        customer = customer.get("id")
    if found.get("object") == "customer":
        customer = found.get("id")
    return Event(
        event_id=str(body["id"]),
        type=str(body["type"]),
        created_ms=_milliseconds(body.get("created")),
        object_id=_id(found.get("id")),
        stripe_customer=_id(customer),
    )


def _id(value: Any) -> str | None:
    """An id as Stripe makes them: what no column or index of a database takes is none."""
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and "\0" not in value and is_text(value)
    return value if fits else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _milliseconds(created: Any) -> int:
    """Snapshots count seconds; thin events write RFC 3339, which the envelope they came in knows too."""
    return int(created) * 1_000 if isinstance(created, int) else 0
