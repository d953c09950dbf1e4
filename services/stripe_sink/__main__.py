"""`python -m services.stripe_sink`: environment → configuration → the room."""

from __future__ import annotations

import sys

from services.stripe_sink.app import room
from services.stripe_sink.config import Settings
from trueup.runtime import log
from trueup.runtime.loop import Stop, run_room
from trueup.runtime.settings import from_environment


def main() -> int:
    """Run the room; the exit code says whether it may be started again."""

    def body(stop: Stop) -> None:
        settings = from_environment(Settings)
        settings.require("kafka_bootstrap", "postgres_dsn", "stripe_api_key", "room")
        log.configure(settings.room)
        room.run(settings, stop)

    return run_room("stripe-sink", body)


if __name__ == "__main__":
    sys.exit(main())
