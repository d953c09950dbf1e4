"""`python -m services.ingest`: the doors, configured by TRUEUP_* variables."""

from __future__ import annotations

import sys

from services.ingest.app.room import Ingest
from services.ingest.config import Settings
from trueup.runtime.loop import Stop, run_room
from trueup.runtime.settings import from_environment


def main() -> int:
    """Run the room; its exit code says how it ended."""

    def body(stop: Stop) -> None:
        settings = from_environment(Settings)
        settings.require("kafka_bootstrap", "postgres_dsn")
        Ingest(settings).run(stop)

    return run_room("ingest", body)


if __name__ == "__main__":
    sys.exit(main())
