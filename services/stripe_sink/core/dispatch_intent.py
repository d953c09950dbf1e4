"""What is sent for one segment, and under which keys: made once, before the call, from what the intent covers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from trueup.contracts.errors import Broken
from trueup.contracts.keys import intent_identifier
from trueup.contracts.quantities import to_decimal_text
from trueup.ledger.intents import Coverage, Draft

HORIZON_MS = 20 * 3_600_000


def draft(coverage: Coverage, *, stripe_account: str) -> Draft:
    """Make the intent for a coverage. The same coverage always has the same identifier.

    Broken for a segment that has not begun: its date would lie in the segment before, which may be another billing period's.
    """
    if coverage.now_ms < coverage.segment_start_ms:
        raise Broken(f"a segment of subject {coverage.subject_id} is cut {coverage.segment_start_ms - coverage.now_ms} ms before it begins")
    identifier = intent_identifier(
        stripe_account,
        coverage.stripe_customer,
        coverage.stripe_event_name,
        coverage.customer,
        coverage.meter,
        coverage.segment_start_ms,
        coverage.after_batch,
    )
    # Whole seconds, rounded down: a second up could be ahead of now or in the next segment.
    timestamp_seconds = min(coverage.newest_event_time_ms, coverage.now_ms) // 1_000
    text = canonical(
        {
            "event_name": coverage.stripe_event_name,
            "identifier": identifier,
            "payload": {
                "stripe_customer_id": coverage.stripe_customer,
                "value": to_decimal_text(coverage.quantity, coverage.scale),
            },
            "timestamp": timestamp_seconds,
        }
    )
    return Draft(
        coverage=coverage,
        identifier=identifier,
        stripe_timestamp_ms=timestamp_seconds * 1_000,
        body=text,
        body_sha256=digest(text),
    )


def canonical(body: Mapping[str, object]) -> str:
    """The one text of a body: names sorted, no blanks."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(text: str) -> str:
    """The SHA-256 of a canonical body."""
    return sha256(text.encode()).hexdigest()


def idempotency_key(identifier: str, server_errors: int) -> str:
    """The key of the next call: the identifier, until Stripe stored a 5xx under it.

    Stripe replays what it saved for a key, its own failures included; so each 5xx that we received needs a new key.
    """
    return identifier if server_errors == 0 else f"{identifier}:{server_errors}"


def may_send_again(risk_since_ms: int | None, now_ms: int) -> bool:
    """Whether Stripe still remembers the identifier for sure: 20 h of its 24, from the first attempt that may have arrived."""
    return risk_since_ms is None or now_ms < risk_since_ms + HORIZON_MS
