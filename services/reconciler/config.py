"""What the reconciler reads from its environment."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trueup.runtime.settings import StreetSettings


class Settings(StreetSettings):
    """The street's settings and this room's own."""

    table: ClassVar[str | None] = "reconciler"

    reconciler_round_seconds: int | None = Field(default=None, ge=1)
    """How often it looks what to read; by default 5 s, and a day with a simulated clock."""

    reconciler_sweep_seconds: int | None = Field(default=None, ge=60)
    """How often all hours of a lane are read; by default a day, and three with a simulated clock."""

    reconciler_readers: int = Field(default=4, ge=1, le=32)
    """How many readings of Stripe run at once."""
