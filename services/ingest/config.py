"""What the ingest room reads from its environment."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trueup.runtime.settings import StreetSettings

GROUP = "trueup.ingest"
WEBHOOK_BYTES = 256 * 1024


class Settings(StreetSettings):
    """The street's settings and this room's own."""

    table: ClassVar[str | None] = "ingest"

    room: str = "ingest"

    ingest_port: int = 0
    """Where the doors are; probes and metrics have TRUEUP_HTTP_PORT for themselves."""

    stripe_webhook_secret: str = Field(default="", repr=False)
    """The endpoint's secret, `whsec_…`; several, separated by commas or blanks, while one is being rolled."""

    ingest_body_bytes: int = Field(default=2 * 1024 * 1024, ge=65_536, le=16 * 1024 * 1024)
    """The largest body of the events door."""

    ingest_requests: int = Field(default=128, ge=1, le=4_096)
    """How many requests are in hand at most; one more is told to come again."""

    ingest_requests_of_key: int = Field(default=32, ge=1, le=4_096)
    """How many of them one key may have."""

    ingest_records: int = Field(default=50_000, ge=1_000, le=1_000_000)
    """How many records may wait for the broker at once."""

    ingest_delivery_seconds: float = Field(default=8.0, ge=1.0, le=60.0)
    """How long the broker has to acknowledge before the client is told that it did not."""

    ingest_header_seconds: float = Field(default=10.0, ge=0.1, le=60.0)
    """How long a client may take to send the head of a request."""

    ingest_body_seconds: float = Field(default=15.0, ge=0.1, le=120.0)
    """How long a client may take to send a body."""

    ingest_flush_seconds: float = Field(default=25.0, ge=0.1, le=300.0)
    """How long a flush is waited for before its client is told to ask again."""

    ingest_keys_stale_seconds: float = Field(default=300.0, ge=1.0)
    """How long keys hold that could not be read anew, because the ledger does not answer."""

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Every secret that may have signed a webhook."""
        return tuple(self.stripe_webhook_secret.replace(",", " ").split())
