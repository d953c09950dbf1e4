"""One clock for dates: nobody reads the wall but the one place that may."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.tidy.source import OURS, REPOSITORY, Fault, calls_and_imports, files, python_files

WALL = re.compile(
    r"^(time\.(time|time_ns|localtime|gmtime|ctime|strftime|clock_gettime|clock_gettime_ns)"
    r"|datetime\.(datetime\.)?(now|utcnow|today)|datetime\.date\.today)$"
)
# The street's clock, and the emulator's own reading of it: the judge imports nothing of ours.
MAY_READ_THE_WALL = {"trueup/runtime/clock.py", "devstack/stripe_emulator/clock.py"}

SQL_WALL = re.compile(
    r"(?<![\w.])(now\s*\(|current_timestamp|current_date|current_time\b|localtimestamp|localtime\b|statement_timestamp|transaction_timestamp"
    r"|timeofday|'now'|'today'|clock_timestamp)",
    re.IGNORECASE,
)
# The one function that all other SQL asks.
OPS_NOW = re.compile(r"create (?:or replace )?function ops\.now\(\).*?\$\$.*?\$\$", re.DOTALL)
LEASE = re.compile(r"leased_until|lease", re.IGNORECASE)


def python_faults(path: str, text: str) -> Iterator[Fault]:
    for line, name in calls_and_imports(ast.parse(text)):
        if WALL.match(name):
            yield Fault(path, line, f"{name} reads the wall clock; ask trueup.runtime.clock")


def sql_faults(path: str, text: str) -> Iterator[Fault]:
    """Dates are `ops.now()`. Leases are waits: they run on the server's own clock."""
    asking = OPS_NOW.sub(lambda found: "\n" * found.group().count("\n"), text)
    for number, line in enumerate(asking.splitlines(), 1):
        code = line.partition("--")[0]
        for found in SQL_WALL.finditer(code):
            lease = found.group().lower() == "clock_timestamp" and LEASE.search(code)
            if not lease:
                yield Fault(path, number, f"{found.group()} reads the wall clock; ask ops.now()")


def test_python_asks_the_streets_clock() -> None:
    """Under a simulated clock one forgotten call would mix two dates."""
    faults = [fault for path, text in python_files(*OURS) if path not in MAY_READ_THE_WALL for fault in python_faults(path, text)]
    assert not faults, "\n".join(map(str, faults))


def test_sql_asks_the_streets_clock() -> None:
    """The database has a clock of its own, which nobody sets."""
    paths = [path for path in files() if path.endswith(".sql")]
    assert paths
    faults = [fault for path in paths for fault in sql_faults(path, (REPOSITORY / path).read_text(encoding="utf-8"))]
    assert not faults, "\n".join(map(str, faults))


@pytest.mark.parametrize(
    "line",
    [
        "import time\ntime.time()",
        "from time import time_ns\n",
        "import time as watch\nwatch.time_ns()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.utcnow()",
        "from datetime import date\ndate.today()",
    ],
)
def test_python_that_reads_the_wall_is_found(line: str) -> None:
    """The lint sees each way of writing it."""
    assert list(python_faults("x.py", line))


@pytest.mark.parametrize(
    "line", ["import time\ntime.monotonic()", "def now_ms(): ...", "from datetime import datetime\ndatetime.fromisoformat('x')"]
)
def test_waits_and_given_dates_are_fine(line: str) -> None:
    """Waits run on monotonic time."""
    assert not list(python_faults("x.py", line))


@pytest.mark.parametrize(
    "line", ["select now()", "where a < CURRENT_TIMESTAMP", "set at = clock_timestamp()", "default now ()", "select 'now'::timestamptz"]
)
def test_sql_that_reads_the_wall_is_found(line: str) -> None:
    """The lint sees each way of writing it."""
    assert list(sql_faults("x.sql", line))


@pytest.mark.parametrize("line", ["select ops.now()", "set leased_until = clock_timestamp() + x", "-- now() is not asked"])
def test_sql_that_asks_the_street_is_fine(line: str) -> None:
    """Leases are the one exception."""
    assert not list(sql_faults("x.sql", line))
