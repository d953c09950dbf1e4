"""How long a sink that stands still may keep its lanes from the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from services.stripe_sink.app.dispatch import Dispatch, DispatchLimits
from services.stripe_sink.app.dispatch_sender import SenderLimits
from services.stripe_sink.metrics import dispatch as metrics
from trueup.contracts.errors import Broken
from trueup.runtime.metrics import Registry

METERS = StripeMeters("sk_test_nobody")


def _make(limits: DispatchLimits) -> Dispatch:
    """With the time-outs that are delivered; nothing is connected to before it starts."""
    return Dispatch("postgresql://nobody", "stripe-sink-1", METERS, Registry(*metrics.ALL, room="stripe-sink-1"), limits)


def test_what_is_delivered_lets_others_go_on_well_within_30_seconds() -> None:
    """Ten seconds are left for the others to notice and to call. Shorter than two calls, a lease would run out in honest work."""
    limits = DispatchLimits()
    for lease_seconds in (limits.sender.lease_seconds, limits.settle_lease_seconds):
        assert 2 * METERS.longest_call_seconds <= lease_seconds <= 20
    _make(limits)


@pytest.mark.parametrize(
    "too_short",
    [
        replace(DispatchLimits(), sender=SenderLimits(lease_seconds=METERS.longest_call_seconds - 0.1)),
        replace(DispatchLimits(), settle_lease_seconds=METERS.longest_call_seconds - 0.1),
    ],
    ids=["to send", "to read"],
)
def test_a_lease_outlasts_the_longest_call(too_short: DispatchLimits) -> None:
    """Else a lane is taken from whoever waits for nothing but an answer."""
    with pytest.raises(Broken, match="outlast"):
        _make(too_short)
