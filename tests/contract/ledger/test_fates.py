"""What became of each delivery, as the ledger's rows tell it: a duplicate that was dropped is never mistaken for an event that was lost."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded, make_rejected
from tests.makers.capture_writer import Writer
from trueup.contracts import keys
from trueup.contracts.events import UsageEvent
from trueup.ledger.store.connection import connect
from trueup.ledger.store.journey import Fate, fate_of

KEPT, LATE, AGAIN, OTHER = make_event("kept"), make_event("late"), make_event("kept"), make_event("kept", quantity=8)


@pytest.fixture
def ledger(database: Database) -> psycopg.Connection:
    """Two batches of partition 0: in the first everything that can happen happens, the second forwards one of two records it covers."""
    connection = connect(database.writer_dsn, "test")
    writer = Writer(connection, 0)
    writer.capture(
        make_announced(
            on_time=[make_forwarded(0, KEPT), make_forwarded(3, OTHER, suspect=True), make_forwarded(4, AGAIN)],
            late=[make_forwarded(1, LATE)],
            rejected=[make_rejected(2, b"garbage")],
            dropped=[AGAIN],
        )
    )
    writer.capture(make_announced(first_offset=6, next_offset=8, on_time=[make_forwarded(6, make_event("next"))], progress_offset=1))
    return connection


@pytest.mark.parametrize(
    ("offset", "event", "fate"),
    [
        (0, KEPT, Fate.CAPTURED),
        (1, LATE, Fate.CAPTURED_LATE),
        (2, KEPT, Fate.REFUSED),
        (3, OTHER, Fate.CONFLICT),
        (4, AGAIN, Fate.DUPLICATE),
        (5, AGAIN, Fate.DROPPED),
        pytest.param(5, make_event("never kept"), Fate.LOST, id="its batch dropped one, but nobody holds this event"),
        pytest.param(7, KEPT, Fate.LOST, id="the ledger holds the event, but its batch dropped nothing"),
        (8, KEPT, Fate.NOT_YET_READ),
    ],
)
def test_a_delivery_ends_where_its_rows_say(ledger: psycopg.Connection, offset: int, event: UsageEvent, fate: Fate) -> None:
    assert fate_of(ledger, 0, offset, keys.identity(event.source, event.id)).fate is fate
