"""The demo reads a trace in lines of its own; it must read what the command reads, or their totals could agree by accident."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devstack.demo.trace_file import MOST_BURSTS, TraceFault, bursts, catalogue_of, moved_text, read_trace
from trueup.cli.lines import Accepted
from trueup.cli.traces import TraceOptions, parse_map
from trueup.cli.traces import read_trace as read_by_command
from trueup.contracts.catalogue import parse

MAP = "time=at,meter:tokens=t,meter:audio_seconds=a"
ROWS = 'at,t,a\r\n"2023-11-16 18:15:46.6805900",374,1.25\r\n\r\n2023-11-16T19:20:50.9951690Z,1,3\n2023-11-16 20:20:50.5+01:00,2,0.5'
MINUTE_MS = 60_000


def trace_path(tmp_path: Path) -> Path:
    """A small trace with what is met in the wild."""
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + ROWS.encode())
    return path


def test_demo_and_command_read_the_same_events(tmp_path: Path) -> None:
    """Ids, customers, instants and quantities, event by event."""
    path = trace_path(tmp_path)
    trace = read_trace(path, MAP, 20)
    assert trace.scales == {"tokens": 0, "audio_seconds": 2}
    verdicts = read_by_command(path.read_bytes(), TraceOptions("t.csv", parse_map(MAP), customers=20), trace.scales)
    by_command = [verdict.event for verdict in verdicts if isinstance(verdict, Accepted)]
    assert [(e.source, e.id, e.customer, e.meter, e.quantity, e.event_time_ms) for e in by_command] == [
        (u.source, u.id, u.customer, u.meter, u.quantity, u.event_time_ms) for u in trace.usages
    ]


def test_every_event_is_delivered_twice_and_never_before_it_happened(tmp_path: Path) -> None:
    """The first time before its window is cut, the second time whenever."""
    trace = read_trace(trace_path(tmp_path), MAP, 3)
    plan = bursts(trace, seed=1)
    deliveries = [delivery for burst in plan for delivery in burst.deliveries]
    assert len(deliveries) == 2 * len(trace.usages)
    assert all(delivery.arrival_ms >= delivery.usage.event_time_ms for delivery in deliveries)
    assert all(delivery.arrival_ms <= burst.at_ms for burst in plan for delivery in burst.deliveries)
    for burst in plan:
        for delivery in burst.deliveries:
            window_end_ms = delivery.usage.event_time_ms // (5 * MINUTE_MS) * 5 * MINUTE_MS + 5 * MINUTE_MS
            assert delivery.made_as != "first" or burst.at_ms < window_end_ms + MINUTE_MS


def test_a_trace_of_days_is_published_in_no_more_than_so_many_batches(tmp_path: Path) -> None:
    """The street comes to rest before each; still nothing arrives before it happened, or after its batch."""
    path = tmp_path / "days.csv"
    rows = "\n".join(f"2024-02-{day:02d} {hour:02d}:{minute:02d}:07,1,1" for day in range(1, 9) for hour in range(24) for minute in (3, 33))
    path.write_text("at,t,a\n" + rows)
    plan = bursts(read_trace(path, MAP, 3), seed=1)
    assert 100 < len(plan) <= MOST_BURSTS + 2
    assert all(delivery.usage.event_time_ms <= delivery.arrival_ms <= burst.at_ms for burst in plan for delivery in burst.deliveries)


def test_the_catalogue_of_a_trace_leaves_nothing_late(tmp_path: Path) -> None:
    """Its billing window is longer than the trace, and the file is one that `catalogue check` accepts."""
    trace = read_trace(trace_path(tmp_path), MAP, 3)
    catalogue = parse(catalogue_of(trace, roll_up="PT1M", summary_settle="PT5S"))
    assert catalogue.policy.bill_from_ms is None
    assert all(meter.billing_window_seconds * 1000 > trace.last_ms - trace.first_ms for meter in catalogue.meters.values())


def test_a_moved_file_ends_where_it_was_told_and_keeps_its_totals(tmp_path: Path) -> None:
    """Only the time column changes."""
    path = trace_path(tmp_path)
    before = read_trace(path, MAP, 3)
    moved = tmp_path / "moved.csv"
    moved.write_text(moved_text(path, MAP, 7_000))
    after = read_trace(moved, MAP, 3)
    assert after.totals == before.totals
    assert (after.first_ms, after.last_ms) == (before.first_ms + 7_000, before.last_ms + 7_000)


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("t,a\n2026-08-03 10:00:00,1\n", "time=t", "needs time=COLUMN and at least one"),
        ("t,a\n2026-08-03 10:00:00,1\n", "time=t,a", "'a' is not time=COLUMN"),
        ("t,a\n2026-08-03 10:00:00,1\n", "time=t,meter:a=b", "has no column b; it has t, a"),
        ("t,a\n2026-08-03 10:00:00,\n", "time=t,meter:a=a", "row 1: a: '' is not a number"),
        ("t,a\n2026-08-03 10:00:00,1\n\n2026-08-03 10:00:00,-1\n", "time=t,meter:a=a", "row 2: a: -1 is not a quantity"),
        ("t,a\n2026-08-03 10:00:00,1\nyesterday,1\n", "time=t,meter:a=a", "row 2: t: "),
        ("t,a\n\n", "time=t,meter:a=a", "has no rows"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_row(tmp_path: Path, text: str, columns: str, said: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TraceFault, match=re.escape(said)):
        read_trace(path, columns, 20)


def test_a_column_with_a_comma_in_its_name(tmp_path: Path) -> None:
    """Quoted in the map as it is in the file; also by the command."""
    path = tmp_path / "t.csv"
    path.write_text('\ufeff\r\n"when","seconds, spoken",note\r\n"2026-08-03T10:00:00+02:00"," 1.5 ","two\r\nlines"\r\n', newline="")
    columns = 'time=when,"meter:s=seconds, spoken"'
    trace = read_trace(path, columns, 20)
    assert [(usage.quantity, usage.event_time_ms) for usage in trace.usages] == [(15, 1_785_744_000_000)]
    assert parse_map(columns).meters == (("s", "seconds, spoken"),)
