"""`python -m services.stripe_sink`: environment → configuration → the room."""

from __future__ import annotations

import sys

from services.stripe_sink.app import room
from services.stripe_sink.config import Settings
from trueup.runtime import loop
from trueup.runtime.settings import SettingsError


def main() -> int:
    """Run the room; the exit code says whether it may be started again."""
    try:
        settings = Settings()
        settings.require("kafka_bootstrap", "postgres_dsn", "stripe_api_key", "room")
    except (SettingsError, ValueError) as fault:
        print(f"stripe_sink: {fault}", file=sys.stderr)  # noqa: T201
        return 2
    return loop.run_room(settings.room, lambda stop: room.run(settings, stop))


if __name__ == "__main__":
    sys.exit(main())
