"""Run the emulator: ``python -m devstack.stripe_emulator --port 12111 --clock system --data-dir build/stripe``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from devstack.stripe_emulator.clock import clock_from
from devstack.stripe_emulator.server import open_pipeline, serve


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="stripe-emulator", description="A stateful Stripe for one machine, for any Stripe SDK.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clock", default="system", help="system, or simulated:/path/to/file with 8 bytes of milliseconds")
    parser.add_argument("--data-dir", type=Path, required=True, help="where the journal lies")
    parser.add_argument(
        "--api-key",
        default=os.environ.get("STRIPE_EMULATOR_API_KEY"),
        help="the only key let in; any sk_test_… or rk_test_… key where none is given",
    )
    options = parser.parse_args()
    pipeline = open_pipeline(options.data_dir, clock_from(options.clock), options.api_key)
    serve(options.host, options.port, pipeline)


if __name__ == "__main__":
    main()
