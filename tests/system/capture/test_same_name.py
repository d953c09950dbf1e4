"""A client that the group has given up for good: the process ends, so that a new one takes its place."""

from __future__ import annotations

from pathlib import Path

import psycopg

from devstack.process import wait_until
from tests.conftest import PARTITIONS
from tests.makers.capture_batches import make_event
from tests.makers.capture_topics import Announcer, Sink, wait_for_all_idle
from tests.makers.ledger_books import assert_books_are
from trueup.runtime.settings import StreetSettings


def test_a_second_sink_of_the_same_name_ends_the_first(
    announcer: Announcer, settings: StreetSettings, tmp_path: Path, looking: psycopg.Connection
) -> None:
    """As a broker that comes back fences members of its own accord, too."""
    story = [(make_event("before"), False)]
    announcer.announce(0, story)
    first = Sink(settings, "stripe-sink-1", tmp_path)
    wait_for_all_idle([first], PARTITIONS)
    (tmp_path / "second").mkdir()
    second = Sink(settings, "stripe-sink-1", tmp_path / "second")
    try:
        assert wait_until(lambda: first.process.poll() is not None, 60, 0.1), first.ask("/activity")
        assert first.process.returncode == 1
        wait_for_all_idle([second], PARTITIONS)
        after = [(make_event("after"), False)]
        announcer.announce(0, after)
        wait_for_all_idle([second], PARTITIONS)
        assert_books_are(looking, [*story, *after])
    finally:
        first.stop()
        second.stop()
