"""Deliveries that must be refused: bytes that are no event, and events that break a rule of the wire."""

from __future__ import annotations

from dataclasses import replace

from devstack.load_generator.deliveries import Damage, Delivery, Usage

DAY_MS = 86_400_000


def hostile(usage: Usage, arrival_ms: int) -> list[Delivery]:
    """One delivery per kind of damage; none of them leaves an identity behind."""
    return [
        Delivery(
            arrival_ms, replace(usage, id=f"{usage.id}-{damage}"), str(damage), damage=damage, confluent=damage is Damage.UNKNOWN_SCHEMA_ID
        )
        for damage in Damage
    ]


def refused_facts(usage: Usage, arrival_ms: int) -> list[Delivery]:
    """Events whose bytes are right and whose content is not."""
    facts = {
        "negative_without_reason": replace(usage, id=f"{usage.id}-negative", quantity=-5),
        "blank_reason": replace(usage, id=f"{usage.id}-blank", quantity=-5, reason="  "),
        "empty_id": replace(usage, id=""),
        "long_source": replace(usage, id=f"{usage.id}-source", source="s" * 256),
        "nul_in_id": replace(usage, id=f"{usage.id}\0x"),
        "too_much": replace(usage, id=f"{usage.id}-much", quantity=10**15),
        "unknown_meter": replace(usage, id=f"{usage.id}-meter", meter="teleportations"),
        "time_in_future": replace(usage, id=f"{usage.id}-future", event_time_ms=arrival_ms + DAY_MS),
    }
    return [Delivery(arrival_ms, fact, name) for name, fact in facts.items()]
