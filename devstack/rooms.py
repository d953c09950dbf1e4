"""How the street's own programs are started: the emulator and the rooms, each on a loopback port with its environment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import requests

from devstack.places import LOOPBACK, kept_port
from devstack.process import Command, Part
from trueup.runtime.web import Health

KAFKA, POSTGRES, EMULATOR = "kafka", "postgres", "stripe-emulator"
INGEST, DEDUPE, STRIPE_SINK, RECONCILER, USAGE_VIEW = "ingest", "dedupe", "stripe-sink", "reconciler", "usage-view"
ROOMS = ("ingest", "dedupe-1", "dedupe-2", "stripe-sink-1", "stripe-sink-2", "reconciler", "usage-view")
ALL_PARTS = (KAFKA, POSTGRES, EMULATOR, *ROOMS)
EMULATOR_KEY = "sk_test_street"
# The street has no schema registry; events in Confluent's framing bear the id that one would have given to our first schema.
CONFLUENT_SCHEMA_IDS = {1: "usage_event"}

_MODULES = {
    INGEST: "services.ingest",
    DEDUPE: "services.dedupe",
    STRIPE_SINK: "services.stripe_sink",
    RECONCILER: "services.reconciler",
    USAGE_VIEW: "services.usage_view",
}
# What the rooms of a kind share out among themselves, told apart in the answers of /activity.
_SHARES = {DEDUPE: "dedupe", STRIPE_SINK: "capture"}
_ANSWER_SECONDS = 3.0


def kind_of(name: str) -> str:
    """`stripe-sink-2` is a `stripe-sink`."""
    kind, _, number = name.rpartition("-")
    return kind if number.isdigit() else name


def owned_by(parts: tuple[str, ...], partitions: int) -> frozenset[str]:
    """Everything that some room among these parts must own before the street can be at rest."""
    kinds = {share for name in parts if (share := _SHARES.get(kind_of(name))) is not None}
    return frozenset(f"{kind}:{partition}" for kind in kinds for partition in range(partitions))


def answers_ready(url: str) -> Callable[[], Health]:
    """Asks `/readyz`."""

    def ready() -> Health:
        try:
            answer = requests.get(f"{url}/readyz", timeout=_ANSWER_SECONDS)
            content = answer.json()
        except requests.ConnectionError:
            return Health(False, "does not listen yet")
        except (requests.RequestException, ValueError) as error:
            return Health(False, f"no answer from {url}/readyz ({type(error).__name__})")
        why = content.get("why", "") if isinstance(content, dict) else ""
        return Health(answer.status_code == 200, str(why))

    return ready


def room_part(name: str, data: Path, environment: Mapping[str, str]) -> Part:
    """A room: its port is the same each time, all else comes from the environment."""
    port = kept_port(data, name)
    command = Command(
        (sys.executable, "-m", _MODULES[kind_of(name)]),
        {**environment, "TRUEUP_ROOM": name, "TRUEUP_HTTP_PORT": str(port), "PYTHONUNBUFFERED": "1"},
    )
    url = f"http://{LOOPBACK}:{port}"
    return Part(name, url, lambda: command, answers_ready(url), room=True)


def emulator_part(data: Path, clock: str) -> Part:
    """The Stripe emulator; its books lie in the data folder and survive it."""
    port = kept_port(data, EMULATOR)
    own_folder = data / EMULATOR
    own_folder.mkdir(parents=True, exist_ok=True)
    options = ("--port", str(port), "--clock", clock, "--data-dir", str(own_folder), "--api-key", EMULATOR_KEY)
    command = Command((sys.executable, "-m", "devstack.stripe_emulator", *options))
    url = f"http://{LOOPBACK}:{port}"
    return Part(EMULATOR, url, lambda: command, answers_ready(url))


def activity_url(part: Part) -> str | None:
    """Where the shared clock asks whether this part is at rest; servers are never asked."""
    if part.room:
        return f"{part.address}/activity"
    return f"{part.address}/_emulator/activity" if part.name == EMULATOR else None
