"""Summaries: floats, pages of ten, whole minutes, and never quite up to date."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
import stripe

from tests.system.emulator.running import DAY, HOUR, RunningEmulator, World, make_world


@pytest.fixture
def prompt(world: World) -> World:
    """A world in which Stripe aggregates at once, at the beginning of a UTC day."""
    world.switch(aggregation_lag_maximum_seconds=0)
    world.clock.to_next(DAY)
    return world


def test_one_row_for_a_range(prompt: World) -> None:
    """E19: without a window there is one row; start is inside, end is not; no customer, a float."""
    start = prompt.clock.now - 2 * HOUR
    for timestamp, value in ((start - 1, "1"), (start, "10"), (start + 59, "100"), (start + 60, "1000")):
        prompt.report(value, timestamp=timestamp)
    (row,) = prompt.summaries(start, start + 60).data
    assert row.aggregated_value == 110.0 and isinstance(row.aggregated_value, float)
    assert (row.start_time, row.end_time, row.meter, row.livemode) == (start, start + 60, prompt.meter, False)
    assert set(row.to_dict()) == {"id", "object", "aggregated_value", "start_time", "end_time", "livemode", "meter"}


def test_no_row_where_nothing_was_reported(prompt: World) -> None:
    """E19: an empty bucket has no row; one whose usage was taken back has."""
    start = prompt.clock.now - 3 * HOUR
    assert prompt.summaries(start, start + HOUR).data == []
    prompt.report("5", timestamp=start)
    prompt.report("-5", timestamp=start + 1)
    prompt.report("7", timestamp=start + 2 * HOUR)
    rows = prompt.summaries(start, start + 3 * HOUR, value_grouping_window="hour").data
    assert [(row.start_time - start, row.aggregated_value) for row in rows] == [(2 * HOUR, 7.0), (0, 0.0)]


@pytest.mark.parametrize(("window", "width"), [("hour", HOUR), ("day", DAY)])
def test_windows_divide_the_range(prompt: World, window: str, width: int) -> None:
    """E19: hours and UTC days; the newest comes first unless the switch says otherwise."""
    start = prompt.clock.now - 3 * DAY
    for number in range(3):
        prompt.report(str(number + 1), timestamp=start + number * width)
        prompt.report("0.5", timestamp=start + (number + 1) * width - 1)
    rows = prompt.summaries(start, start + 3 * width, value_grouping_window=window).data
    assert [row.aggregated_value for row in rows] == [3.5, 2.5, 1.5]
    assert all(row.end_time - row.start_time == width for row in rows)
    prompt.switch(summary_order="oldest_first")
    rows = prompt.summaries(start, start + 3 * width, value_grouping_window=window).data
    assert [row.aggregated_value for row in rows] == [1.5, 2.5, 3.5]


def test_pages_of_ten(prompt: World) -> None:
    """E19: a bare list gives 10 rows of a month, and says that there are more; the SDK's own paging finds all."""
    end = prompt.clock.now
    for number in range(25):
        prompt.report("1", timestamp=end - 2 * DAY + number * HOUR)
    query = {"value_grouping_window": "hour"}
    bare = prompt.summaries(end - 2 * DAY, end, **query)
    assert (len(bare.data), bare.has_more) == (10, True)
    assert sum(row.aggregated_value for row in bare.auto_paging_iter()) == 25.0
    everything = prompt.summaries(end - 2 * DAY, end, limit=100, **query)
    assert (len(everything.data), everything.has_more) == (25, False)
    rest = prompt.summaries(end - 2 * DAY, end, starting_after=bare.data[-1].id, **query)
    assert [row.id for row in rest.data] == [row.id for row in everything.data[10:20]]
    back = prompt.summaries(end - 2 * DAY, end, ending_before=rest.data[0].id, **query)
    assert [row.id for row in back.data] == [row.id for row in bare.data]


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [(None, 30, HOUR), (None, 0, HOUR + 1), ("hour", 60, HOUR), ("hour", 0, HOUR + 60), ("day", HOUR, DAY), ("day", 0, DAY + HOUR)],
)
def test_times_stand_on_boundaries(prompt: World, window: str | None, start: int, end: int) -> None:
    """E19: minutes, hours with the hour window, UTC midnight with the day window."""
    query = {} if window is None else {"value_grouping_window": window}
    with pytest.raises(stripe.InvalidRequestError, match="must be aligned"):
        prompt.summaries(prompt.clock.now - 5 * DAY + start, prompt.clock.now - 5 * DAY + end, **query)


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"value_grouping_window": "week"}, {"starting_after": "mtrusg_none"}, {"end_time": 0}]
)
def test_refuses_queries_that_make_no_sense(prompt: World, query: dict[str, object]) -> None:
    """Limits from 1 to 100, known windows, known cursors, an end after the start."""
    with pytest.raises(stripe.InvalidRequestError):
        prompt.summaries(0, HOUR, **query)


@pytest.mark.parametrize("missing", ["customer", "start_time", "end_time"])
def test_needs_customer_and_range(prompt: World, missing: str) -> None:
    """E30: each missing parameter is named."""
    query = {"customer": prompt.customer, "start_time": 0, "end_time": 60}
    del query[missing]
    with pytest.raises(stripe.InvalidRequestError, match=f"Missing required param: {missing}."):
        prompt.stripe.v1.billing.meters.event_summaries.list(prompt.meter, query)  # type: ignore[arg-type]


def test_unknown_meters_and_customers(prompt: World) -> None:
    """404 in the address, 400 in a parameter."""
    with pytest.raises(stripe.InvalidRequestError, match="No such meter") as caught:
        prompt.stripe.v1.billing.meters.event_summaries.list("mtr_none", {"customer": prompt.customer, "start_time": 0, "end_time": 60})
    assert caught.value.http_status == 404
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_none'") as caught:
        prompt.summaries(0, 60, customer="cus_none")
    assert caught.value.http_status == 400


def test_aggregation_lags_behind_receipt(world: World) -> None:
    """E10: under the simulated clock usage appears bit by bit within the hour after it was received; the books know at once."""
    assert world.emulator.ask("settings")["aggregation_lag_maximum_seconds"] == 3600.0
    start = world.clock.to_next(HOUR) - HOUR
    for number in range(80):
        world.report("1", timestamp=start + number)
    assert world.page()["value"] == "80"
    seen = []
    for _ in range(5):
        rows = world.summaries(start, start + HOUR).data
        seen.append(rows[0].aggregated_value if rows else 0.0)
        world.clock.advance(HOUR / 4)
    assert seen[0] < seen[1] < seen[2] < seen[3] < seen[4] == 80.0


def test_events_appear_out_of_order(world: World) -> None:
    """E10: every event has a lag of its own, so a later one may be seen first."""
    start = world.clock.to_next(DAY)
    world.clock.advance(DAY)
    for number in range(20):
        world.report(str(2**number), timestamp=start + number)
    world.clock.advance(HOUR / 2)
    seen = int(world.summaries(start, start + HOUR).data[0].aggregated_value)
    assert 0 < seen < 2**20 - 1
    assert seen & (seen + 1), f"{seen:b} shows the events in the order they came"


def test_lag_is_a_switch_that_works_while_reading(world: World) -> None:
    """E10: taking the lag away shows at once what was received long before."""
    world.switch(aggregation_lag_minimum_seconds=600, aggregation_lag_maximum_seconds=600)
    start = world.clock.to_next(HOUR) - HOUR
    world.report("3", timestamp=start)
    assert world.summaries(start, start + HOUR).data == []
    world.switch(aggregation_lag_minimum_seconds=0, aggregation_lag_maximum_seconds=0)
    assert world.summaries(start, start + HOUR).data[0].aggregated_value == 3.0
    world.switch(aggregation_lag_minimum_seconds=600, aggregation_lag_maximum_seconds=600)
    assert world.summaries(start, start + HOUR).data[0].aggregated_value == 3.0, "what was seen once stays seen"


def test_sums_are_exact_before_they_become_floats(prompt: World) -> None:
    """The books and Decimal(repr(float)) agree where float sums would have drifted."""
    start = prompt.clock.now - HOUR
    for _ in range(30):
        prompt.report("0.1", timestamp=start)
    prompt.report("-0.000000000001", timestamp=start)
    (row,) = prompt.summaries(start, start + HOUR).data
    assert prompt.page()["value"] == "2.999999999999"
    assert Decimal(repr(row.aggregated_value)) == Decimal("2.999999999999")


def test_books_are_kept_by_hour_of_event_time(prompt: World) -> None:
    """The books name hours in RFC 3339 and write plain decimals."""
    start = prompt.clock.now - DAY
    prompt.report("1000000", timestamp=start)
    prompt.report("2.50", timestamp=start + HOUR - 1)
    prompt.report("-7", timestamp=start + HOUR)

    def named(seconds: int) -> str:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:00:00Z")

    assert prompt.page() == {
        "events": 3,
        "value": "999995.5",
        "hours": {named(start): "1000002.5", named(start + HOUR): "-7"},
    }


@pytest.mark.parametrize(
    ("settings", "switches", "expected"),
    [
        ({"default_aggregation": {"formula": "count"}}, {}, 4.0),
        ({"default_aggregation": {"formula": "last"}}, {}, 40.0),
        ({"default_aggregation": {"formula": "last"}}, {"last_ordering": "received"}, 20.0),
        ({"event_time_window": "hour"}, {}, 60.0),
        ({"event_time_window": "day"}, {}, 20.0),
    ],
)
def test_other_meters(emulator: RunningEmulator, settings: dict[str, object], switches: dict[str, object], expected: float) -> None:
    """E18: count, last by time or by receipt, and windows in which the event received last overwrites."""
    world = make_world(emulator, **settings)
    world.switch(aggregation_lag_maximum_seconds=0, **switches)
    start = world.clock.to_next(DAY) - DAY
    for timestamp, value in ((start, "10"), (start + HOUR, "30"), (start + HOUR + 60, "40"), (start + 30, "20")):
        world.report(value, timestamp=timestamp)
    (row,) = world.summaries(start, start + DAY).data
    assert row.aggregated_value == expected
