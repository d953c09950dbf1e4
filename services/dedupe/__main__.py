"""`python -m services.dedupe`: one worker of the dedupe room, configured by TRUEUP_* variables."""

from __future__ import annotations

import sys

from services.dedupe.app.worker import serve
from services.dedupe.config import Settings
from trueup.runtime.loop import run_room
from trueup.runtime.settings import from_environment


def main() -> int:
    """Runs until it is asked to stop; the last log line says why it ended otherwise."""
    return run_room("dedupe", lambda _stop: serve(from_environment(Settings)))


if __name__ == "__main__":
    sys.exit(main())
