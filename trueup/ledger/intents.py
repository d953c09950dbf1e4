"""The values that travel between dispatch and the ledger: what is due, what is sent, what came of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

LARGEST_VALUE = 10**15 - 1
"""Smallest units that one meter event may hold: a double holds 15 digits exactly, and Stripe refuses more."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The postings of one due segment that no intent covers yet, up to a cut."""

    subject_id: int
    customer: str
    meter: str
    segment_start: datetime
    segment_start_ms: int
    segment_end: datetime
    after_batch: int
    through_batch: int
    looked_through: int  # by the cut; beyond `through_batch` when the rest did not fit
    cut_id: int
    set_aside_as: str | None  # what it waits for when no run of its batches has a sum that can be sent
    whole: bool  # nothing is left for the next round
    quantity: int  # smallest unit
    events: int  # 0: everything was covered already
    oldest_event_time: datetime
    newest_event_time: datetime
    newest_event_time_ms: int
    stripe_customer: str
    stripe_event_name: str
    scale: int
    now_ms: int  # the date by which it was found due


@dataclass(frozen=True, slots=True)
class Draft:
    """An intent before it has a number: what will be sent for its coverage."""

    coverage: Coverage
    identifier: str
    stripe_timestamp_ms: int
    body: str  # canonical JSON
    body_sha256: str


@dataclass(frozen=True, slots=True)
class Pick:
    """The intent that a leased lane sends next."""

    lane_id: int
    epoch: int
    intent_id: int
    identifier: str
    body: dict[str, object]
    body_sha256: str
    earlier_may_have_arrived: bool
    server_errors: int  # answers of 5xx received for this intent
    failures: int  # answers in a row that settled nothing, on this lane


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is written down and may be made."""

    pick: Pick
    attempt_id: int
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one call, decided and ready to be stored."""

    call: Call
    outcome_class: str
    final: bool
    may_have_arrived: bool
    http_status: int | None
    stripe_code: str | None
    message: str | None
    request_id: str | None
    halted_reason: str | None  # halts the lane
    settling: bool
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class LaneHour:
    """A lane's hour with intents that are not sent again: settled by two readings of Stripe's summary."""

    lane_id: int
    hour_start: datetime
    hour_start_ms: int
    stripe_customer: str
    stripe_event_name: str
    scale: int
    due_ms: int  # when the next reading counts


@dataclass(frozen=True, slots=True)
class UnknownIntent:
    """An intent of which nobody knows whether it arrived."""

    intent_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a settlement is decided from: both readings agree on `stripe`."""

    unknown: tuple[UnknownIntent, ...]
    acknowledged: int
    stripe: int
    first_read_at: datetime
