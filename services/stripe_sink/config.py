"""What the sink reads from its environment."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trueup.runtime.settings import StreetSettings

CAPTURE_GROUP = "trueup.capture"
"""The consumer group of all sinks."""


class Settings(StreetSettings):
    """The street's settings and this room's own."""

    table: ClassVar[str | None] = "stripe_sink"

    capture_events: int = Field(default=10_000, ge=1)
    """A transaction takes whole progress records up to this many events; one that is larger goes alone."""

    capture_waiting_records: int = Field(default=20_000, ge=1)
    """A topic's partition is read no further while this many of its records wait."""

    dispatch_senders: int = Field(default=4, ge=1)
    """How many calls to Stripe may be under way at once."""
