"""One seed, two months: the second one with every room stopped at random. Nothing that is billed may depend on who was slow."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import pytest

from devstack.demo.month import CATALOGUE, REST_MS, month_end_ms, play, set_up, street_customers
from devstack.demo.running import Running, running
from devstack.load_generator.deliveries import Month, Usage
from devstack.load_generator.month import WINDOW_MS, Scale, make_month
from devstack.load_generator.truth import judge, weight
from devstack.rooms import ROOMS

SEED = 4
SMALL = Scale(customers=8, bursts=3, events_low=20, events_high=24, newcomers=0, leavers=0, upgrades=0, downgrades=0)
LONGEST_STOP_SECONDS = 2.0
PAUSE_SECONDS = 0.3
LEAST_STOPS = 2
# customer, meter, segment, value, events, Stripe's timestamp
SEGMENTS = """
    select s.customer, s.meter, i.segment_start, i.segment_end, i.quantity, i.events, i.stripe_timestamp
    from ledger.intent i join ledger.subject s on s.subject_id = i.subject_id
"""
# How each delivery ended, with what it said: customer, meter, quantity, and of a conflict also which of the two was kept.
OUTCOMES = """
    select 'accepted', e.source, e.id, e.late::text, concat_ws(' ', e.customer, e.meter, e.quantity, e.payload_hash), count(*)
    from ledger.event e group by 1, 2, 3, 4, 5
    union all
    select 'conflict', c.source, c.id, '',
        concat_ws(' ', c.customer, c.meter, c.quantity, c.seen_payload_hash, 'after', c.kept_payload_hash), count(*)
    from ledger.conflict c group by 1, 2, 3, 4, 5
    union all
    select 'refused', coalesce(r.source, ''), coalesce(r.id, ''), r.reason, r.record_sha256::text, count(*)
    from ledger.refusal r group by 1, 2, 3, 4, 5
    union all
    -- What dedupe recognizes stands nowhere by its id: the sum of the ids says whether it was the same ones. Over all partitions: of two
    -- deliveries in two of them that come at once either may be the first.
    select 'duplicate', '', sum(b.duplicate_id_sum + b.ledger_duplicate_id_sum)::text, '',
        sum(b.duplicate_quantity + b.ledger_duplicate_quantity)::text, sum(b.duplicate_events + b.ledger_duplicate_events)
    from ledger.source_batch b
"""


@dataclass(frozen=True)
class Books:
    """What a month comes to."""

    segments: Counter[tuple[object, ...]]
    outcomes: Counter[tuple[object, ...]]


class Stopper(threading.Thread):
    """Stops every room in turn, each for up to two seconds, until told to end; counts what it did."""

    def __init__(self, here: Running) -> None:
        super().__init__(name="stopper", daemon=True)
        self.here, self.over, self.draw = here, threading.Event(), random.Random(SEED)
        self.stops: Counter[str] = Counter()

    def run(self) -> None:
        """One room at a time, in an order of its own."""
        coming: list[str] = []
        while not self.over.wait(self.draw.uniform(0, PAUSE_SECONDS)):
            # All of them before any of them again: left to chance alone, one might hardly be stopped.
            coming = coming or self.draw.sample(ROOMS, len(ROOMS))
            room = coming.pop()
            self.here.street.kill(room, signal.SIGSTOP)
            self.over.wait(self.draw.uniform(0, LONGEST_STOP_SECONDS))
            self.here.street.kill(room, signal.SIGCONT)
            self.stops[room] += 1


@contextmanager
def stopping(here: Running, *, on: bool) -> Iterator[Counter[str]]:
    """Rooms are stopped while this lasts, or not."""
    stopper = Stopper(here)
    if not on:
        yield stopper.stops
        return
    stopper.start()
    try:
        yield stopper.stops
    finally:
        stopper.over.set()
        stopper.join()


def expected_segments(month: Month) -> Counter[tuple[object, ...]]:
    """What must be sent, from the deliveries alone: per customer, meter and window what a burst brought of it on time, in one piece."""
    verdicts = iter(judge(month.deliveries).verdicts)
    pieces: dict[tuple[str, str, int, int], list[Usage]] = defaultdict(list)
    for burst in month.bursts:
        for delivery in burst.deliveries:
            usage = delivery.usage
            if next(verdicts).outcome == "on_time":
                window_ms = usage.event_time_ms // WINDOW_MS * WINDOW_MS
                pieces[usage.customer, usage.meter, window_ms, burst.at_ms].append(usage)
    return Counter(
        (customer, meter, instant(window_ms), instant(window_ms + WINDOW_MS), sum(map(weight, piece)), len(piece), newest(piece))
        for (customer, meter, window_ms, _), piece in pieces.items()
    )


def instant(milliseconds: int) -> datetime:
    """An instant as Postgres gives it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def newest(piece: list[Usage]) -> datetime:
    """The timestamp that Stripe is told: the newest event time, in whole seconds rounded down."""
    return instant(max(usage.event_time_ms for usage in piece) // 1000 * 1000)


def books_of_a_month(*, stops: bool) -> Books:
    """Plays the month in a street of its own and reads what stands in the ledger."""
    toml = CATALOGUE.read_text(encoding="utf-8")
    with running(toml, clock="simulated") as here:
        start_ms = here.now_ms()
        month = make_month(SEED, start_ms, month_end_ms(start_ms), SMALL)
        set_up(here, toml, street_customers(month), start_ms)
        here.make_stripe_unkind()
        with stopping(here, on=stops) as stopped:
            play(here, month.bursts, month.bursts[-1].at_ms + REST_MS)
        assert not stops or all(stopped[room] >= LEAST_STOPS for room in ROOMS), f"not every room was stopped several times: {stopped}"
        with psycopg.connect(here.settings.postgres_dsn) as connection:
            segments = Counter(connection.execute(SEGMENTS).fetchall())
            outcomes = Counter(connection.execute(OUTCOMES).fetchall())
        assert segments == expected_segments(month)
        assert sum(outcome[0] == "accepted" for outcome in outcomes) == sum(
            verdict.outcome in ("on_time", "late") for verdict in judge(month.deliveries).verdicts
        )
        return Books(segments, outcomes)


@pytest.mark.timeout(900)
def test_a_seed_gives_the_same_segments_and_outcomes_whoever_is_slow() -> None:
    """Customer, meter, window, value and timestamp of everything sent; the outcome of every event."""
    quick = books_of_a_month(stops=False)
    slow = books_of_a_month(stops=True)
    assert len(quick.segments) > 40
    assert slow.segments - quick.segments == Counter()
    assert quick.segments - slow.segments == Counter()
    assert slow.outcomes == quick.outcomes
