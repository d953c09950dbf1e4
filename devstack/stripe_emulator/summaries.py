"""Meter event summaries: what Stripe has aggregated by now, as floats, by range, hour or day."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.aggregation import value_of, visibility
from devstack.stripe_emulator.call import Answer, Call, Route
from devstack.stripe_emulator.lists import PAGING, page
from devstack.stripe_emulator.state import Object

_ALIGNMENT_SECONDS = {None: 60, "hour": 3600, "day": 86_400}


def listed(call: Call) -> Answer:
    """List the summaries of one customer on one meter; a range without visible events has no row."""
    meter = call.needed("meter")
    customer = call.parameters.needed_text("customer")
    start, end = call.parameters.needed_integer("start_time"), call.parameters.needed_integer("end_time")
    window = call.parameters.choice("value_grouping_window", ("day", "hour"))
    found = call.state.find("customer", customer)
    if found is None:
        raise errors.no_such("customer", customer, "customer")
    _check_range(start, end, window)
    rows = [_row(meter, customer, *bucket) for bucket in _buckets(call, meter, customer, start, end, window)]
    if call.state.switches.summary_order == "newest_first":
        rows.reverse()
    return Answer(page(rows, call.parameters, f"/v1/billing/meters/{meter['id']}/event_summaries", "billing.meter_event_summary"))


def _buckets(call: Call, meter: Object, customer: str, start: int, end: int, window: str | None) -> Iterator[tuple[int, int, Decimal]]:
    """Give start, end and value of every bucket that holds something, oldest first."""
    switches = call.state.switches
    lane = call.state.books.lane(meter["id"], customer)
    visible = visibility(switches, call.now_ms)
    if lane is None:
        return
    width = end - start if window is None else _ALIGNMENT_SECONDS[window]
    # Only buckets in which something was counted can have a row: a month of hours costs no more than its busy ones.
    busy = {hour - hour % width for hour, _ in lane.hours() if start <= hour - hour % width < end}
    starts = [start] if window is None else sorted(busy)
    for bucket_start in starts:
        value = value_of(meter, lane, bucket_start, bucket_start + width, visible, switches.last_ordering)
        if value is not None:
            yield bucket_start, bucket_start + width, value


def _row(meter: Object, customer: str, start: int, end: int, value: Decimal) -> Object:
    digest = hashlib.blake2b(f"{meter['id']} {customer} {start} {end}".encode(), digest_size=16).hexdigest()
    return {
        "id": f"mtrusg_test_{digest}",
        "object": "billing.meter_event_summary",
        "aggregated_value": float(value),
        "end_time": end,
        "livemode": False,
        "meter": meter["id"],
        "start_time": start,
    }


def _check_range(start: int, end: int, window: str | None) -> None:
    step = _ALIGNMENT_SECONDS[window]
    boundary = {None: "minute", "hour": "hour", "day": "UTC day"}[window]
    for name, instant in (("start_time", start), ("end_time", end)):
        if instant % step:
            raise errors.StripeError(f"Invalid {name}: must be aligned with {boundary} boundaries.", parameter=name)
    if end <= start:
        raise errors.StripeError("Invalid end_time: must be after start_time.", parameter="end_time")


ROUTES = (
    Route(
        "GET",
        "/v1/billing/meters/{id}/event_summaries",
        listed,
        PAGING | {"value_grouping_window"},
        ("customer", "start_time", "end_time"),
    ),
)
