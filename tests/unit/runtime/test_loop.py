"""A loop that tests can take one turn of, and the three ways a room ends."""

import json
import os
import signal
import subprocess
import sys

import pytest

from trueup.contracts.errors import Broken
from trueup.runtime.loop import CRASHED, HALTED, STOPPED, Stop, run, run_room


def test_run_takes_turns_until_enough() -> None:
    """Production and tests share the loop."""
    batches = iter([1, 0, 2, 3])
    run(lambda: next(batches), enough=lambda handled: handled == 2)
    assert next(batches) == 3


def test_run_ends_when_asked() -> None:
    """Asking to stop lets the step in hand finish."""
    stop, steps = Stop(), []

    def step() -> int:
        steps.append(1)
        stop.ask()
        return 1

    run(step, stop=stop)
    assert steps == [1]


def test_sigterm_ends_a_room_with_0() -> None:
    """Kubernetes and the supervisor stop rooms this way."""

    def body(stop: Stop) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)

    assert run_room("r", body) == STOPPED


def run_in_a_process(body: str) -> tuple[int, dict[str, object]]:
    code = "from trueup.contracts.errors import Broken\nfrom trueup.runtime.loop import run_room\n"
    code += f"def body(stop):\n    {body}\nraise SystemExit(run_room('r', body))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    return done.returncode, json.loads(done.stderr.strip().splitlines()[-1])


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("raise Broken('sums differ')", HALTED, "sums differ"),
        ("1 / 0", CRASHED, "ZeroDivisionError: division by zero"),
        ("pass", STOPPED, "stopped"),
    ],
)
def test_exit_code_and_last_line_say_why(body: str, code: int, message: str) -> None:
    """The supervisor reads both."""
    returned, line = run_in_a_process(body)
    assert (returned, line["message"], line["room"]) == (code, message, "r")
    assert str(line["at"]).endswith("Z")


def test_broken_is_ours() -> None:
    """What halts a room is raised on purpose."""
    assert issubclass(Broken, Exception)
