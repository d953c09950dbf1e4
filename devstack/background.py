"""A street that outlives the command that started it: `up`, `down` and `status` of the one street of this repository."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from devstack.clock import CLOCK_FILE
from devstack.places import cache_folder
from devstack.process import Footprint, signal_and_wait, wait_until
from devstack.supervisor import Say

_START_SECONDS = 900.0  # the first start on a slow line downloads Kafka
_STOP_SECONDS = 90.0
_ANSWER_SECONDS = 30.0
_CLEARED_AWAY_SECONDS = 5.0
_POLL_SECONDS = 0.1


class StreetError(RuntimeError):
    """The street could not be started, or is not what was asked for; the text says what to do."""


def street_folder() -> Path:
    """Where the street's state lies, and its data if nobody named another folder; `TRUEUP_DATA_DIR` moves it."""
    return Path(os.environ.get("TRUEUP_DATA_DIR", cache_folder() / "street")).resolve()


def state_file() -> Path:
    """What a running street says of itself: the object of `up --json` and what `trueup` needs beside it."""
    return street_folder() / "street.json"


def _supervisor() -> Footprint:
    return Footprint(street_folder() / "supervisor.pid")


def supervisor_pid() -> int | None:
    """The process that the running street lives in."""
    return _supervisor().pid()


def progress_file() -> Path:
    """What the street said while it started."""
    return street_folder() / "progress.log"


def up(
    *,
    clock: str = "system",
    clock_start_ms: int | None = None,
    catalogue: Path | None = None,
    keep: Path | None = None,
    partitions: int = 12,
    say: Say,
) -> dict[str, Any]:
    """Starts the street unless it runs, and gives the object of `up --json`. With `keep` its data lie there and stay."""
    folder = street_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(folder / "up.lock"):
        if _supervisor().pid() is not None:
            return _as_it_runs(clock, keep)
        data = keep.resolve() if keep else folder / "data"
        if keep:
            _refuse_other_clock(data, clock)
        else:
            shutil.rmtree(data, ignore_errors=True)
        state_file().unlink(missing_ok=True)
        options = {
            "data": str(data),
            "clock": clock,
            "clock_start_ms": clock_start_ms,
            "catalogue": str(catalogue.resolve()) if catalogue else None,
            "partitions": partitions,
        }
        return _start(options, say)


def _refuse_other_clock(data: Path, clock: str) -> None:
    """Before any part starts: on another date Stripe would close months in the seconds until a room refuses the topics."""
    if not (data / "kafka").exists():
        return
    kept = "simulated" if (data / CLOCK_FILE).exists() else "system"
    if kept != clock:
        raise StreetError(f"{data} was kept with --clock {kept}: say so, or keep another folder")


def _as_it_runs(clock: str, keep: Path | None) -> dict[str, Any]:
    state = _state()
    if state is None:
        raise StreetError(f"a street is being started or stopped just now; see {progress_file()}")
    running = "system" if state["clock"] == "system" else "simulated"
    if running != clock:
        raise StreetError(f"the street runs with --clock {running}; `trueup down` first")
    if keep and str(keep.resolve()) != state["data_dir"]:
        raise StreetError(f"the street runs on {state['data_dir']}; `trueup down` first")
    return contract_keys(state)


def _start(options: dict[str, Any], say: Say) -> dict[str, Any]:
    progress = progress_file()
    with open(progress, "wb") as output:
        process = subprocess.Popen(
            (sys.executable, "-m", "devstack.daemon", json.dumps(options)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _supervisor().write(process.pid)
    deadline = time.monotonic() + _START_SECONDS
    with open(progress, encoding="utf-8", errors="replace") as lines:
        while True:
            ended = process.poll() is not None
            said = lines.read().splitlines()
            for line in said:
                say(line)
            state = _state()
            if state is not None:
                return contract_keys(state)
            if ended:
                _supervisor().path.unlink(missing_ok=True)
                raise StreetError(f"the street did not start; what it said is in {progress}")
            if time.monotonic() > deadline:
                process.terminate()
                raise StreetError(f"the street was not up within {_START_SECONDS:.0f} s; what it said is in {progress}")
            time.sleep(_POLL_SECONDS)


def contract_keys(state: dict[str, Any]) -> dict[str, Any]:
    """The object of `up --json`: what the street says of itself, without what only `trueup` needs."""
    return {
        key: value
        for key, value in state.items()
        if key not in {"clock", "partitions", "topic_prefix", "confluent_schema_ids", "status_url", "settles_sooner"}
    }


def down(say: Say) -> bool:
    """Stops the street; true when one ran. Its kept data stay, other data go at the next start."""
    pid = _supervisor().pid()
    if pid is None:
        state_file().unlink(missing_ok=True)
        return False
    say("the street is stopping")
    if not signal_and_wait(pid, signal.SIGTERM, _STOP_SECONDS):
        say(f"it did not stop within {_STOP_SECONDS:.0f} s, killed; its parts die with it")
        signal_and_wait(pid, signal.SIGKILL, _STOP_SECONDS)
    _supervisor().path.unlink(missing_ok=True)
    state_file().unlink(missing_ok=True)
    return True


def status() -> list[dict[str, Any]]:
    """A line for each part of the running street; empty when none runs."""
    state = _state()
    if state is None or _supervisor().pid() is None:
        return []
    try:
        rows: list[dict[str, Any]] = requests.get(state["status_url"], timeout=_ANSWER_SECONDS).json()
    except requests.ConnectionError as away:
        # One that was killed a moment ago has a process for as long as the system takes to clear it away.
        if wait_until(lambda: _supervisor().pid() is None, _CLEARED_AWAY_SECONDS):
            return []
        raise StreetError(f"the street's own process does not answer: {away}") from away
    return rows


def _state() -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(state_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return state


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with open(path, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
