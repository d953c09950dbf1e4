"""A service that publishes installs neither the rooms nor what they stand on."""

import subprocess
import sys

ROOMS_DEPENDENCIES = (
    "aiohttp",
    "alembic",
    "faust",
    "msgspec",
    "mode",
    "numpy",
    "prometheus_client",
    "psycopg",
    "pydantic",
    "requests",
    "rich",
    "services",
    "sqlalchemy",
    "stripe",
    "structlog",
    "trueup.ledger",
    "trueup.runtime",
    "typer",
    "devstack",
)
PROGRAM = """
import importlib.abc, sys
forbidden = set(sys.argv[1:])

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in forbidden:
            raise ImportError(f"{name} is not installed here")
        return None

sys.meta_path.insert(0, Blocker())
try:
    import psycopg
except ImportError:
    pass
else:
    raise SystemExit("the blocker does not block")

from trueup.publisher import Publisher
import trueup.publisher.__main__
with Publisher.from_environment("inference", environment={"TRUEUP_KAFKA_BOOTSTRAP": "127.0.0.1:1", "TRUEUP_KAFKA__LOG_LEVEL": "0"}):
    print("published from", len([name for name in sys.modules if name.startswith("trueup.")]), "modules")
"""


def test_the_publisher_needs_none_of_the_rooms_dependencies() -> None:
    """In a process where importing any of them fails."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, *ROOMS_DEPENDENCIES], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("published from")
