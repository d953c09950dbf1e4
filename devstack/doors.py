"""What the street's HTTP doors are opened with: an API key and a webhook secret, the same over every restart of a kept street."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from devstack.places import LOOPBACK, kept_port
from devstack.stripe_setup import DOOR_TIMEOUT_SECONDS, REASON, RECORDED_BY, door
from trueup.ledger.store import api_keys
from trueup.ledger.store.connection import connect

HOLDER, READER = "street", "street-usage"
ENDPOINT, THIN_ENDPOINT = "we_street", "we_street_thin"
SCOPES, READER_SCOPES = ("events:write", "usage:read", "customers:write"), ("usage:read",)


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


@dataclass(frozen=True, slots=True)
class UsageDoors:
    """Where customers' numbers are, and what opens them."""

    port: int
    api_key: str
    link_secret: str

    @property
    def url(self) -> str:
        """What a product's backend asks, and what customers' links begin with."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the usage view is told of them."""
        return {"TRUEUP_USAGE_PORT": str(self.port), "TRUEUP_USAGE_LINK_SECRET": self.link_secret, "TRUEUP_USAGE_PUBLIC_URL": self.url}


def usage_doors_of(data: Path) -> UsageDoors:
    """The doors for customers' numbers of the street that keeps its data here."""
    secret = _kept(data / "usage-view.link-secret", lambda: secrets.token_hex(32))
    return UsageDoors(kept_port(data, "usage-view-doors"), _kept(data / "usage-view.api-key", api_keys.new_text), secret)


def _kept(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(make(), encoding="ascii")
    return path.read_text(encoding="ascii")


def record_key(dsn: str, text: str, holder: str, scopes: Sequence[str]) -> None:
    """Put a key of the street into its ledger, unless somebody took it back there."""
    with connect(dsn, "trueup-devstack") as connection:
        key_id = api_keys.id_in(text)
        if all(key.key_id != key_id for key in api_keys.every(connection)):
            api_keys.create(connection, holder, scopes=scopes, sources=["*"], reason=REASON, created_by=RECORDED_BY, text=text)


def point_emulator(stripe_url: str, stripe_api_key: str, doors: Doors) -> None:
    """Let the emulator tell everything to our door; a port that changed since is told anew.

    What it refuses after its 2xx is told by thin events only, which need an endpoint of their own.
    """
    for endpoint, payload in ((ENDPOINT, "snapshot"), (THIN_ENDPOINT, "thin")):
        wish = {"id": endpoint, "url": doors.webhooks_url, "enabled_events": ["*"], "secret": doors.webhook_secret, "payload": payload}
        door(stripe_url, "webhook_endpoints", wish)
        address = f"{stripe_url}/v1/webhook_endpoints/{endpoint}"
        signed_in = {"Authorization": f"Bearer {stripe_api_key}"}
        known: dict[str, Any] = requests.get(address, headers=signed_in, timeout=DOOR_TIMEOUT_SECONDS).json()
        if known.get("url") != doors.webhooks_url:
            moved = requests.post(address, headers=signed_in, data={"url": doors.webhooks_url}, timeout=DOOR_TIMEOUT_SECONDS)
            moved.raise_for_status()
