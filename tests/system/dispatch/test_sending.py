"""From postings to Stripe's books, through every answer that Stripe can give."""

from __future__ import annotations

import pytest

from tests.makers.dispatch_world import DispatchWorld, wait_idle


def test_usage_of_a_segment_is_sent_once_when_its_window_has_ended(world: DispatchWorld) -> None:
    """A minute after its end a segment goes out as one event, with the newest event time in it."""
    world.use("acme", "tokens", 5)
    world.use("acme", "tokens", 7, at_ms=world.now_ms + 1_700)
    newest = (world.now_ms + 1_700) // 1_000
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert dispatch.activity().next_due_ms == (world.now_ms // 300_000 + 1) * 300_000 + 60_000
        assert world.rows("select * from ledger.intent") == []
        world.pass_segment()
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "12")
    assert world.rows("select quantity, events, extract(epoch from stripe_timestamp)::bigint from ledger.intent") == [(12, 2, newest)]
    assert (world.account("unsent"), world.account("in_flight"), world.account("acknowledged")) == (0, 0, 12)
    assert world.classes() == ["ack"]


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("429", ["retry", "ack"]),
        ("lock_timeout", ["retry", "ack"]),
        ("500_before", ["unknown", "ack"]),
        ("500_after", ["unknown", "ack_duplicate"]),
        ("drop_before", ["unknown", "ack"]),
        ("drop_after", ["unknown", "ack"]),
    ],
)
def test_trouble_on_the_way_neither_loses_nor_doubles(world: DispatchWorld, kind: str, classes: list[str]) -> None:
    """Whatever happened to the first call, Stripe counts the usage once and the ledger knows it."""
    world.use("acme", "tokens", 5)
    world.trouble(kind)
    with world.dispatching() as dispatch:
        world.pass_segment()
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "5")
    assert world.classes() == classes
    assert (world.account("in_flight"), world.account("acknowledged")) == (0, 5)
