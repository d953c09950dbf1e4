"""What the usage view reads from its environment."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trueup.runtime.settings import SettingsError, StreetSettings

SHORTEST_SECRET = 32


class Settings(StreetSettings):
    """The street's settings and this room's own. TRUEUP_POSTGRES_DSN is of role usage_ro here."""

    table: ClassVar[str | None] = "usage_view"

    room: str = "usage-view"

    usage_port: int = 0
    """Where the doors are; probes and metrics have TRUEUP_HTTP_PORT for themselves."""

    usage_public_url: str = ""
    """How customers reach the doors, such as https://usage.example.com; without it links name this host and port."""

    usage_link_secret: str = Field(default="", repr=False)
    """Signs customers' links, at least 32 characters; while it is changed the old one behind it, separated by a comma."""

    usage_requests: int = Field(default=64, ge=4, le=4_096)
    """How many requests are in hand at most; one more is told to come again. Customers' pages may be a quarter of them."""

    usage_requests_of_key: int = Field(default=16, ge=1, le=4_096)
    """How many of them one key may have."""

    usage_statement_seconds: int = Field(default=10, ge=1, le=60)
    """How long Postgres may work on one statement."""

    usage_header_seconds: float = Field(default=10.0, ge=0.1, le=60.0)
    """How long a client may take to send the head of a request."""

    usage_body_seconds: float = Field(default=5.0, ge=0.1, le=60.0)
    """How long a client may take to send a body."""

    usage_keys_stale_seconds: float = Field(default=300.0, ge=1.0)
    """How long keys hold that could not be read anew, because the ledger does not answer."""

    @property
    def link_secrets(self) -> tuple[bytes, ...]:
        """The secret that signs, and those that signed before."""
        found = tuple(self.usage_link_secret.replace(",", " ").split())
        if not found or any(len(secret) < SHORTEST_SECRET for secret in found):
            raise SettingsError(f"TRUEUP_USAGE_LINK_SECRET needs at least {SHORTEST_SECRET} characters (see deploy/env.example)")
        return tuple(secret.encode() for secret in found)
