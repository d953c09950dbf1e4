"""`python -m services.usage_view`: the doors for customers' numbers, configured by TRUEUP_* variables."""

from __future__ import annotations

import sys

from services.usage_view.app.room import UsageView
from services.usage_view.config import Settings
from trueup.runtime.loop import Stop, run_room
from trueup.runtime.settings import from_environment


def main() -> int:
    """Run the room; its exit code says how it ended."""

    def body(stop: Stop) -> None:
        settings = from_environment(Settings)
        settings.require("kafka_bootstrap", "postgres_dsn", "usage_link_secret")
        UsageView(settings, settings.link_secrets).run(stop)

    return run_room("usage-view", body)


if __name__ == "__main__":
    sys.exit(main())
