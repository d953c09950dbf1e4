"""What dispatch needs from Stripe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from services.stripe_sink.core.dispatch_outcome import Answer
from trueup.ledger.store.dispatch.arming import StripeReader


class MeterCalls(StripeReader, Protocol):
    """Sends meter events, and reads what arming reads."""

    @property
    def longest_call_seconds(self) -> float:
        """An upper bound of one call, which a lease must outlast."""

    def send(self, body: Mapping[str, object], idempotency_key: str) -> Answer:
        """Send one meter event, once. Never raises for what Stripe or the network did."""
