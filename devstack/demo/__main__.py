"""`python -m devstack.demo`: the month, or with `--trace` a real trace; exit 0 only if every line agrees."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from devstack.demo import month, trace
from devstack.demo.judgement import Judgement
from devstack.demo.running import say
from devstack.demo.trace_file import DEFAULT_MAP, TraceFault

SEED = 20261
RESULT = Path("build/demo.json")


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="demo", description="A billing month, or a real trace, through the whole street.")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--trace", type=Path, help="a CSV to feed instead of the month")
    parser.add_argument("--map", default=DEFAULT_MAP, help="its columns: time=COLUMN,meter:NAME=COLUMN,…")
    parser.add_argument("--clock", choices=("simulated", "system"), default="simulated")
    parser.add_argument("--shift", action="store_true", help="move the trace to end now; what --clock system needs")
    parser.add_argument("--expect", type=sums, default={}, help="known from outside: events=COUNT, and sums in smallest units: meter=SUM,…")
    parser.add_argument("--json", type=Path, default=RESULT, help="where the tables go as JSON")
    parser.add_argument("--truth", type=Path, help="where the month's truth goes as JSON")
    options = parser.parse_args(arguments)
    if options.trace is None and options.clock == "system":
        parser.error("the month lies in the past: only a trace runs with --clock system")
    if options.trace is not None and not options.trace.is_file():
        parser.error(f"there is no file {options.trace}")
    if options.clock == "system" and not options.shift:
        parser.error("--clock system needs --shift: Stripe takes nothing older than 35 days")
    return options


def sums(text: str) -> dict[str, int]:
    """Known sums by meter; `events` is the number of all."""
    pairs = (part.partition("=") for part in text.split(","))
    return {meter: int(quantity) for meter, _, quantity in pairs}


def judged(options: argparse.Namespace) -> Judgement:
    """Runs what was asked for."""
    if options.trace is None:
        return month.run(options.seed, truth_file=options.truth)
    if options.clock == "system":
        return trace.run_system(options.trace, options.map, options.expect)
    return trace.run_simulated(options.trace, options.map, options.expect, options.seed)


def main() -> int:
    """Runs, prints the tables, and says whether they agree."""
    options = parsed()
    signal.signal(signal.SIGTERM, stop)
    began = time.monotonic()
    try:
        judgement = judged(options)
    except KeyboardInterrupt:
        say("demo: stopped")
        return 130
    except TraceFault as fault:
        say(f"demo: {fault}")
        return 2
    judgement.write(options.json)
    sys.stdout.write(judgement.text() + "\n\n")
    seconds = time.monotonic() - began
    answer = "every line agrees" if judgement.agrees else "NOT every line agrees"
    sys.stdout.write(f"{answer}; wall time {seconds:.0f} s; the tables as JSON: {options.json}\n")
    return 0 if judgement.agrees else 1


def stop(number: int, frame: FrameType | None) -> None:
    """SIGTERM takes the street down as Ctrl-C does."""
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
