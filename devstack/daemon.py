"""The process that a background street lives in: `python -m devstack.daemon '{"data": …}'`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from devstack.background import state_file
from devstack.street import Street, say_on_stderr
from trueup.runtime.loop import CRASHED, STOPPED, Stop


def main(options: Mapping[str, Any]) -> int:
    """Brings the street up, says where it is, keeps it until asked to stop, and takes it down."""
    signal.signal(signal.SIGTERM, _give_up)
    signal.signal(signal.SIGINT, _give_up)
    catalogue = Path(options["catalogue"]) if options["catalogue"] else None
    street = Street(
        Path(options["data"]),
        clock=options["clock"],
        clock_start_ms=options["clock_start_ms"],
        catalogue=catalogue,
        partitions=options["partitions"],
    )
    try:
        street.start()
        stop = Stop().on_signals()
        _tell(street)
        stop.wait_for_ever()
    except Exception as error:
        say_on_stderr(f"the street did not start: {error}")
        return CRASHED
    finally:
        state_file().unlink(missing_ok=True)
        street.stop()
    return STOPPED


def _give_up(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(CRASHED)


def _tell(street: Street) -> None:
    """Writes the state whole or not at all."""
    arriving = state_file().with_suffix(".arriving")
    arriving.write_text(json.dumps({**street.describe(), **street.describe_more()}, indent=2), encoding="utf-8")
    arriving.chmod(0o600)
    arriving.replace(state_file())


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
