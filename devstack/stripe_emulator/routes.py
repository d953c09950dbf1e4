"""The addresses that the emulator knows, and which endpoint answers each."""

from __future__ import annotations

from devstack.stripe_emulator import (
    customers,
    errors,
    events,
    invoices,
    meter_events,
    meters,
    prices,
    subscription_changes,
    subscriptions,
    summaries,
    test_clocks,
    thin_events,
    webhook_endpoints,
)
from devstack.stripe_emulator.call import Route

ROUTES = (
    *customers.ROUTES,
    *meters.ROUTES,
    *meter_events.ROUTES,
    *summaries.ROUTES,
    *prices.ROUTES,
    *subscriptions.ROUTES,
    *subscription_changes.ROUTES,
    *invoices.ROUTES,
    *events.ROUTES,
    *webhook_endpoints.ROUTES,
    *test_clocks.ROUTES,
    *thin_events.ROUTES,
)
_ARGUMENT = "{id}"
_BY_ADDRESS = {(route.method, tuple(route.path.split("/"))): route for route in ROUTES}


def route_of(method: str, path: str) -> tuple[Route, str]:
    """Find the route of a request, and the id that its address names; a plain address comes before one with an id."""
    segments = tuple(path.rstrip("/").split("/"))
    plain = _BY_ADDRESS.get((method, segments))
    if plain is not None:
        return plain, ""
    for position in range(len(segments) - 1, 1, -1):
        pattern = (*segments[:position], _ARGUMENT, *segments[position + 1 :])
        route = _BY_ADDRESS.get((method, pattern))
        if route is not None:
            return route, segments[position]
    raise errors.unrecognized_address(method, path)
