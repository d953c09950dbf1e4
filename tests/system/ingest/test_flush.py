"""The whole street, spoken to over HTTP: usage in, asked after, flushed, and counted at Stripe."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from devstack.street import Street
from tests.makers.ingest_room import an_event, bearer
from trueup.runtime.clock import SystemClock, rfc3339


def counted(said: dict[str, Any], customer: str) -> Decimal:
    """What the emulator counted of a Stripe customer, from its own requests."""
    meters = requests.get(f"{said['stripe_url']}/_emulator/books", timeout=30).json()["meters"]
    return sum((Decimal(lanes[customer]["value"]) for lanes in meters.values() if customer in lanes), Decimal(0))


def flush(said: dict[str, Any], headers: dict[str, str]) -> requests.Response:
    """Asks for it once."""
    answer = requests.post(f"{said['ingest_url']}/v1/customers/acme/flush", headers=headers, timeout=60)
    print(answer.status_code, answer.text)
    return answer


@pytest.mark.timeout(600)
@pytest.mark.parametrize("clock", ["system", "simulated"])
def test_flush_is_200_once_stripe_has_it(tmp_path: Path, clock: str) -> None:
    """Right behind the 202: what was accepted a moment ago is part of everything, though its window has not ended by far.

    While the date stands still Stripe shows nothing new: then it is 503, and 200 when asked again later.
    """
    with Street(tmp_path, clock=clock, partitions=4) as street:
        said = street.describe()
        headers = bearer(said["ingest_api_key"])
        now = requests.get(said["clock_url"], timeout=30).json()["now"] if clock == "simulated" else rfc3339(SystemClock().now_ms())
        events = [an_event(f"e-{number}", time=now, value=number) for number in range(100)]
        accepted = requests.post(f"{said['ingest_url']}/v1/events", json=events, headers=headers, timeout=60)
        assert (accepted.status_code, counted(said, "cus_acme")) == (202, 0)
        answer = flush(said, headers)
        if clock == "simulated":
            # It is there; but Stripe shows a meter's usage only after up to an hour, and only the street lets an hour pass.
            assert (answer.status_code, counted(said, "cus_acme")) == (503, Decimal(4950))
            requests.post(said["clock_url"], json={"advance": "PT80M"}, timeout=300).raise_for_status()
            answer = flush(said, headers)
        assert (answer.status_code, answer.json()["done"]) == (200, True)
        assert counted(said, "cus_acme") == Decimal(4950)
        found = requests.get(f"{said['ingest_url']}/v1/events/inference/e-7", headers=headers, timeout=60).json()
        assert found["outcome"] == "on_time"
        assert "answered" in [step["step"] for step in found["steps"]]
        stranger = requests.post(f"{said['ingest_url']}/v1/customers/stranger/flush", headers=headers, timeout=60)
        assert (stranger.status_code, "no Stripe customer" in stranger.json()["detail"]) == (409, True)
