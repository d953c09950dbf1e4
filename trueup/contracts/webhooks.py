"""What Stripe tells us, as the door keeps it: the raw body that the signature covers, and what was read from it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StripeWebhook:
    """One verified notification; the same `event_id` may come many times and in any order."""

    event_id: str
    type: str
    api_version: str | None
    livemode: bool
    created_ms: int
    received_at_ms: int
    signature: str
    body: bytes
