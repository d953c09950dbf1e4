"""What the street's HTTP doors are opened with: an API key and a webhook secret, the same over every restart of a kept street."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from devstack.places import LOOPBACK, kept_port
from devstack.stripe_setup import DOOR_TIMEOUT_SECONDS, REASON, RECORDED_BY, door
from trueup.ledger.store import api_keys
from trueup.ledger.store.connection import connect

HOLDER = "street"
ENDPOINT = "we_street"
_SCOPES = ("events:write", "usage:read", "customers:write")


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the doors are, and what opens them."""

    port: int
    api_key: str
    webhook_secret: str

    @property
    def url(self) -> str:
        """What services publish to."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def webhooks_url(self) -> str:
        """Where Stripe tells what happened."""
        return f"{self.url}/webhooks/stripe"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the ingest room is told of them."""
        return {"TRUEUP_INGEST_PORT": str(self.port), "TRUEUP_STRIPE_WEBHOOK_SECRET": self.webhook_secret}


def doors_of(data: Path) -> Doors:
    """The doors of the street that keeps its data here."""
    secret = _kept(data / "ingest.webhook-secret", lambda: f"whsec_{secrets.token_hex(24)}")
    return Doors(kept_port(data, "ingest-doors"), _kept(data / "ingest.api-key", api_keys.new_text), secret)


def _kept(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(make(), encoding="ascii")
    return path.read_text(encoding="ascii")


def record_key(dsn: str, doors: Doors) -> None:
    """Put the street's key into its ledger, unless somebody took it back there."""
    with connect(dsn, "trueup-devstack") as connection:
        key_id = api_keys.id_in(doors.api_key)
        if all(key.key_id != key_id for key in api_keys.every(connection)):
            api_keys.create(connection, HOLDER, scopes=_SCOPES, sources=["*"], reason=REASON, created_by=RECORDED_BY, text=doors.api_key)


def point_emulator(stripe_url: str, stripe_api_key: str, doors: Doors) -> None:
    """Let the emulator tell everything to our door; a port that changed since is told anew."""
    wish = {"id": ENDPOINT, "url": doors.webhooks_url, "enabled_events": ["*"], "secret": doors.webhook_secret}
    door(stripe_url, "webhook_endpoints", wish)
    address = f"{stripe_url}/v1/webhook_endpoints/{ENDPOINT}"
    signed_in = {"Authorization": f"Bearer {stripe_api_key}"}
    known: dict[str, Any] = requests.get(address, headers=signed_in, timeout=DOOR_TIMEOUT_SECONDS).json()
    if known.get("url") != doors.webhooks_url:
        moved = requests.post(address, headers=signed_in, data={"url": doors.webhooks_url}, timeout=DOOR_TIMEOUT_SECONDS)
        moved.raise_for_status()
