"""The street of one demo, driven as a user would: by the `trueup` command, its clock and Stripe's own SDK."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from devstack.street import Street
from trueup.runtime.clock import clock_from
from trueup.runtime.settings import StreetSettings

BEGAN = time.monotonic()
FAULTS = ("429", "500_after", "500_before", "drop_after", "drop_before")
FAULT_SHARE = 0.01
KEPT_LOGS = Path("build/demo-logs")
# What the emulator's own list of answers calls them.
FAULTY_ANSWERS = ("429", "500", "dropped")
OF_FINAL_INVOICES = "lines_equal_ledger"
METER_EVENTS = "/v1/billing/meter_events"


def say(sentence: str) -> None:
    """Progress, for whoever waits: with the seconds since the demo began."""
    sys.stderr.write(f"{time.monotonic() - BEGAN:4.0f} s  {sentence}\n")
    sys.stderr.flush()


def instant_text(instant_ms: int) -> str:
    """An instant for people, to the minute."""
    return datetime.fromtimestamp(instant_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


@dataclass(frozen=True, slots=True)
class Running:
    """A street that is up."""

    street: Street

    @property
    def settings(self) -> StreetSettings:
        """The street's addresses, the ledger as its owner."""
        return self.street.owner_settings

    @property
    def stripe_url(self) -> str:
        """Where the emulator listens."""
        return str(self.settings.stripe_url)

    def now_ms(self) -> int:
        """The street's own date."""
        return clock_from(self.settings.clock).now_ms()

    def verb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a verb of `trueup` in a process of its own; what it says goes to our stderr, its data comes back."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("TRUEUP_")}
        named = {**self.street.environment(), "TRUEUP_POSTGRES_DSN": self.settings.postgres_dsn}
        command = [sys.executable, "-m", "trueup.cli", *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**own, **named}, check=False)

    def must(self, *arguments: str) -> str:
        """A verb whose answer has to be yes."""
        done = self.verb(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"trueup {' '.join(arguments)} ended with {done.returncode}")
        return done.stdout

    def reconcile_and_prove(self) -> tuple[str, bool]:
        """Reads Stripe once more, then proves: the proof's rows, and whether it holds."""
        self.must("reconcile")
        proof = self.verb("prove", "--require", "all")
        return proof.stdout, proof.returncode == 0

    def reconcile_and_prove_unbilled(self) -> tuple[str, bool]:
        """The same where no period has ended yet: then the check of final invoices, and no other one, has nothing to look at."""
        self.must("reconcile")
        proof = self.verb("prove")
        empty = [line.split("\t")[0] for line in proof.stdout.splitlines() if "\tempty\t" in line]
        return proof.stdout, proof.returncode == 0 and empty == [OF_FINAL_INVOICES]

    def make_stripe_unkind(self) -> None:
        """From now on one call in twenty fails in one of five ways; drawn from the call itself, so that a seed repeats it."""
        orders = [
            {"path": METER_EVENTS, "method": "POST", "kind": kind, "probability": FAULT_SHARE, "seed": number}
            for number, kind in enumerate(FAULTS)
        ]
        requests.post(f"{self.stripe_url}/_emulator/faults", json=orders, timeout=30).raise_for_status()

    def make_stripe_kind(self) -> None:
        """No more faults: what is read afterwards is read in peace."""
        requests.delete(f"{self.stripe_url}/_emulator/faults", timeout=30).raise_for_status()

    def stripe_calls(self) -> Mapping[str, int]:
        """How the emulator answered the meter events it got, by outcome."""
        answer = requests.get(f"{self.stripe_url}/_emulator/requests", params={"limit": "0"}, timeout=30)
        answer.raise_for_status()
        counts = answer.json()["counts"]
        return {name: count for endpoint, outcomes in counts.items() if endpoint.endswith(METER_EVENTS) for name, count in outcomes.items()}


def nothing_pending(proof: str) -> bool:
    """Whether every check of a proof, given as its tab-separated rows, has its answer: what is over has no excuse to wait."""
    heading, *rows = [line.split("\t") for line in proof.splitlines()]
    status = heading.index("status")
    return bool(rows) and all(row[status] != "pending" for row in rows)


@contextmanager
def running(
    catalogue: str, *, clock: str, clock_start_ms: int | None = None, amounts: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[Running]:
    """A street in a folder of its own, taken down again whatever happens; after a failure its logs are kept."""
    with tempfile.TemporaryDirectory(prefix="trueup-demo-") as folder:
        file = Path(folder) / "catalogue.toml"
        file.write_text(catalogue, encoding="utf-8")
        data = Path(folder) / "street"
        street = Street(data, clock=clock, clock_start_ms=clock_start_ms, catalogue=file, amounts=amounts, say=say)
        try:
            with street:
                yield Running(street)
        except Exception:
            shutil.copytree(data / "logs", KEPT_LOGS, dirs_exist_ok=True)
            say(f"it failed; what each part said is in {KEPT_LOGS}")
            raise
        say("street: down")
