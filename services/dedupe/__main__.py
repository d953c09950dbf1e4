"""`python -m services.dedupe`: one worker of the dedupe room, configured by TRUEUP_* variables."""

from __future__ import annotations

import sys

from services.dedupe.app.worker import serve
from services.dedupe.config import Settings
from trueup.contracts.errors import Broken
from trueup.runtime import log
from trueup.runtime.loop import HALTED


def main() -> int:
    """Runs until it is asked to stop; a configuration that cannot be used halts the room with the reason."""
    try:
        settings = Settings()
        serve(settings)
    except (Broken, ValueError) as fault:
        log.configure("dedupe")
        log.get("dedupe").critical(str(fault), halted=True)
        return HALTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
