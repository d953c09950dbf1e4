"""What must come of a month, decided in a few lines that share nothing with the pipeline."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from devstack.load_generator.deliveries import Damage, Delivery, Usage

MINUTE_MS = 60_000
LATE_AFTER_MS = {
    "input_tokens": 45 * MINUTE_MS,
    "output_tokens": 45 * MINUTE_MS,
    "audio_seconds": 45 * MINUTE_MS,
    "searches": 45 * MINUTE_MS,
    "runs": 60 * MINUTE_MS,
}
COUNTED = frozenset({"searches"})
FUTURE_MS = 5 * MINUTE_MS
REASON_OF_DAMAGE = {
    Damage.OVERSIZE: "too_large",
    Damage.UNKNOWN_FINGERPRINT: "unknown_schema",
    Damage.UNKNOWN_SCHEMA_ID: "unknown_schema",
}


@dataclass(slots=True)
class Totals:
    """What became of the deliveries of one customer and meter; quantities in the smallest unit, as billed."""

    on_time: int = 0
    on_time_of_new_plan: int = 0  # of it, what was used since its customer changed its plan
    late: int = 0
    on_time_events: int = 0
    late_events: int = 0
    duplicate_events: int = 0
    conflict_events: int = 0
    refused_events: int = 0

    @property
    def quantity(self) -> int:
        """All that the customer used: what is billed in time and what is put before a person."""
        return self.on_time + self.late


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where one delivery must end."""

    source: str
    id: str
    outcome: str
    reason: str | None


@dataclass(slots=True)
class Truth:
    """Totals per customer and meter, refusals by reason, and the verdict on every delivery in its order."""

    totals: dict[tuple[str, str], Totals] = field(default_factory=lambda: defaultdict(Totals))
    refused_by_reason: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    verdicts: list[Verdict] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """One JSON file: totals, refusals and each delivery's verdict."""
        rows = [{"customer": c, "meter": m, **asdict(t)} for (c, m), t in sorted(self.totals.items())]
        events = [[v.source, v.id, v.outcome, v.reason] for v in self.verdicts]
        path.write_text(json.dumps({"totals": rows, "refused": self.refused_by_reason, "events": events}))


def refusal(delivery: Delivery) -> str | None:
    """Why a delivery must be refused, from how it was made."""
    if delivery.damage is not None:
        return REASON_OF_DAMAGE.get(delivery.damage, "undecodable")
    usage = delivery.usage
    names = (usage.id, usage.source, usage.customer, usage.meter)
    if any(not 1 <= len(name) <= 255 or "\0" in name for name in names) or abs(usage.quantity) >= 10**15:
        return "bad_field"
    if usage.quantity < 0 and not (usage.reason or "").strip():
        return "negative_without_reason"
    if usage.meter not in LATE_AFTER_MS:
        return "unknown_meter"
    return "time_in_future" if usage.event_time_ms - delivery.arrival_ms > FUTURE_MS else None


def weight(usage: Usage) -> int:
    """What an event adds to its meter: its quantity, or one (less one when it takes something back) where events are counted."""
    if usage.meter in COUNTED:
        return -1 if usage.corrects or usage.quantity < 0 else 1
    return usage.quantity


def facts(usage: Usage) -> tuple[object, ...]:
    """What must be equal for a second delivery to be the same fact."""
    return (usage.customer, usage.meter, usage.quantity, usage.event_time_ms, usage.reason, usage.corrects, dict(usage.dimensions))


def judge(deliveries: Iterable[Delivery], changed_ms: Mapping[str, int] | None = None) -> Truth:
    """The verdict on every delivery, in the order they are published; `changed_ms` says when which customer changed its plan."""
    changes = changed_ms or {}
    truth = Truth()
    first: dict[tuple[str, str], tuple[object, ...]] = {}
    for delivery in deliveries:
        usage = delivery.usage
        reason = refusal(delivery)
        totals = truth.totals[usage.customer, usage.meter] if delivery.damage is None else Totals()
        known = first.get((usage.source, usage.id))
        if reason is not None:
            outcome = "refused"
            truth.refused_by_reason[reason] += 1
            totals.refused_events += 1
        elif known is not None:
            outcome = "duplicate" if known == facts(usage) else "conflict"
            if outcome == "duplicate":
                totals.duplicate_events += 1
            else:
                totals.conflict_events += 1
        else:
            first[usage.source, usage.id] = facts(usage)
            late = delivery.arrival_ms - usage.event_time_ms > LATE_AFTER_MS[usage.meter]
            outcome = "late" if late else "on_time"
            count(totals, weight(usage), late=late)
            # What is used in the very second of a change belongs to the new plan.
            if not late and usage.event_time_ms >= changes.get(usage.customer, usage.event_time_ms + 1):
                totals.on_time_of_new_plan += weight(usage)
        truth.verdicts.append(Verdict(usage.source, usage.id, outcome, reason))
    return truth


def count(totals: Totals, quantity: int, *, late: bool) -> None:
    """Books one accepted event."""
    if late:
        totals.late += quantity
        totals.late_events += 1
    else:
        totals.on_time += quantity
        totals.on_time_events += 1
