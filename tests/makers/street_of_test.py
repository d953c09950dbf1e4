"""A street spoken to as a user would: by the `trueup` command in a process of its own, and by public URLs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import requests

START_SECONDS = 600


@dataclass
class StreetOfTest:
    """A street of this test's own, spoken to as a user would."""

    environment: dict[str, str]
    said: dict[str, Any]

    def trueup(self, *arguments: str, answer: int = 0, stdin: str | None = None) -> Any:
        """Runs a verb with `--json`, expects its exit code, gives its data."""
        done = call(self.environment, *arguments, "--json", stdin=stdin)
        assert done.returncode == answer, f"{arguments} ended with {done.returncode}: {done.stderr}"
        return json.loads(done.stdout)

    def now(self) -> datetime:
        """The street's date."""
        return datetime.fromisoformat(requests.get(self.said["clock_url"], timeout=30).json()["now"])

    def advance_to(self, instant: datetime) -> None:
        """Moves the clock; returns when every room is idle there."""
        answer = requests.post(self.said["clock_url"], json={"to": instant.isoformat()}, timeout=300)
        assert answer.ok, answer.text

    def books(self) -> dict[tuple[str, str], Decimal]:
        """What the emulator counted of the requests it received."""
        meters = requests.get(f"{self.said['stripe_url']}/_emulator/books", timeout=30).json()["meters"]
        return {(customer, name): Decimal(held["value"]) for name, lanes in meters.items() for customer, held in lanes.items()}


def call(environment: dict[str, str], *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """One verb in a process of its own."""
    command = [sys.executable, "-m", "trueup.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, input=stdin, timeout=START_SECONDS, check=False)
