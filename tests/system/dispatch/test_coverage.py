"""Coverage under concurrency: writers that stall, cutters that race and die, and every posting in exactly one intent, by value.

A range of batch numbers always "covers"; what commits late is missing in the value only. So the values stored in the intents are
compared with the postings, and each cutter that is known to be wrong must be caught by that.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest

from services.stripe_sink.core.dispatch_intent import draft
from tests.conftest import Database
from tests.makers.dispatch_world import START_MS
from trueup.ledger.store import barrier, clock, queries
from trueup.ledger.store.connection import connect
from trueup.ledger.store.dispatch import arming, cuts

WRITERS = 4
SUBJECTS = 20
SEGMENTS = 12
LEAST_CUTS = 30  # fewer would prove nothing: what is lost is lost between two cuts
DAY_MS = 86_400_000
MOST_INTENTS = 1_000
MOST_KILLS = 12
MakeCut = Callable[[psycopg.Connection], None]

SET_UP = f"""
insert into ledger.catalogue_version values (1, '', '', ops.now(), '-infinity', 86400, 7200, null, ops.now());
insert into ledger.meter_version values (1, 'tokens', 'token', 0, 'sum', 2700, 2937600, 600, 300);
insert into ledger.meter_event_name values (1, 'tokens', '', 'tokens');
insert into ledger.deployment values (true, 'acct_1', false, ops.now());
insert into ledger.subject (customer, meter) select 'cus_' || n, 'tokens' from generate_series(1, {SUBJECTS}) n;
"""
# One posting for each subject and segment: every batch touches every intent that is being made.
POST = """
insert into ledger.posting (batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events,
    oldest_event_time, newest_event_time)
select %(batch)s, s.subject_id, t.at, t.at + interval '5 minutes', 1, 2, %(quantity)s + s.subject_id, 1, t.at, t.at
from ledger.subject s
cross join lateral (select to_timestamp(%(start)s) + n * interval '5 minutes' as at from generate_series(0, %(last)s) n) t
"""
BATCH = """
insert into ledger.batch (batch_id, kind, writer, recorded_at) values (%(batch)s, 'capture', 'writer', to_timestamp(%(start)s))
"""
STORED = """
with beside as (
    select
        i.quantity, i.events, p.quantity as covered_quantity, p.events as covered_events,
        i.after_batch = lag(i.through_batch, 1, 0::bigint) over (
            partition by i.subject_id, i.segment_start order by i.after_batch
        ) as chained
    from ledger.intent i
    cross join lateral (
        select sum(n.quantity) as quantity, sum(n.events) as events
        from ledger.posting n
        where n.subject_id = i.subject_id and n.segment_start = i.segment_start and n.to_account = 2
            and n.batch_id > i.after_batch and n.batch_id <= i.through_batch
    ) p
)
select
    (select sum(p.quantity) from ledger.posting p where p.to_account = 2)::bigint as posted,
    (select count(*) from ledger.posting p where p.to_account = 2) as postings,
    sum(b.quantity)::bigint as cut,
    sum(b.events)::bigint as events,
    count(*) as intents,
    count(*) filter (where not b.chained or b.quantity <> b.covered_quantity or b.events <> b.covered_events) as wrong
from beside b
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the ledger holds in the end."""

    posted: int
    postings: int
    cut: int
    events: int
    intents: int
    wrong: int  # intents whose stored value or count is not that of their postings

    @property
    def exact(self) -> bool:
        """Each posting in one intent, by value and by count."""
        return self.posted == self.cut and self.postings == self.events and not self.wrong


@pytest.fixture
def ledger(database: Database) -> Database:
    """A ledger whose usage is all long past, so that whatever is posted is due at once."""
    with psycopg.connect(database.dsn, autocommit=True) as owner:
        clock.set_simulated_now(owner, START_MS)
        owner.execute(SET_UP.encode())
        arming._record(owner, "arm", None, "test", "test", 0, 0)
        clock.set_simulated_now(owner, START_MS + DAY_MS)
    return database


def write(database: Database, batches: int, segments: int, seed: int, cut_often: threading.Event) -> None:
    """Post as capture does: barrier, batch number, rows, commit, with stalls between."""
    stall = random.Random(seed)
    written = 0
    with connect(database.writer_dsn, f"writer-{seed}") as connection:
        while written < batches or not cut_often.is_set():
            written += 1
            with connection.transaction():
                barrier.share(connection)
                batch = barrier.next_batch(connection)
                time.sleep(stall.choice((0, 0, 0.001, 0.005, 0.02)))
                recorded = {"batch": batch, "start": START_MS / 1_000, "quantity": stall.randrange(1, 1_000), "last": segments - 1}
                connection.execute(BATCH, recorded)
                connection.execute(POST, recorded)
                time.sleep(stall.choice((0, 0, 0.001, 0.005)))


def true_cut(connection: psycopg.Connection) -> None:
    """The cutter of the house."""
    cuts.discover(connection, cuts.cut(connection))


def cut_by_range(connection: psycopg.Connection) -> None:
    """Wrong: takes the highest committed number for a boundary, without the barrier."""
    row = connection.execute(
        """insert into ledger.cut (through_batch, recorded_at)
           select coalesce(max(b.batch_id), 0), ops.now() from ledger.batch b returning cut_id, through_batch"""
    ).fetchone()
    assert row is not None
    cuts.discover(connection, cuts.Cut(*row))


def cut_in_repeatable_read(connection: psycopg.Connection) -> None:
    """Wrong: the snapshot is taken when the lock is asked for, and what commits while it waits is not seen."""
    statements = queries.load("dispatch_cut")
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        barrier.exclude(connection)
        row = connection.execute(statements["record_cut"]).fetchone()
        assert row is not None
        after = connection.execute("select discovered_through from ops.dispatch_progress").fetchone()
        assert after is not None
        connection.execute(statements["discover"], {"after": after[0], "through": row[1]})
        connection.execute(statements["progress"], {"through": row[1], "cut_id": row[0]})
        connection.execute(statements["judge"], {"everything": False})
        covered = cuts.coverages(connection, 10_000)
        if covered:
            batch = barrier.next_batch(connection)
            connection.execute(statements["insert_batch"], {"batch_id": batch, "kind": "intent", "writer": "wrong"})
            cuts._insert_intents(connection, [draft(item, stripe_account="acct_1") for item in covered], row[0], "wrong")
            connection.execute("delete from ops.uncovered_segment")


def make_all_intents(connection: psycopg.Connection) -> None:
    """Intents for whatever is due under the last cut."""
    while covered := cuts.coverages(connection, MOST_INTENTS):
        drafts = [draft(item, stripe_account="acct_1") for item in covered if item.events]
        cuts.make_intents(connection, drafts, [item for item in covered if not item.events], "cutter")


def cut_until(database: Database, name: str, make_cut: MakeCut, cut_often: threading.Event, enough: threading.Event) -> int:
    """Cut at full speed; begin anew after whatever ended the connection. Gives how many cuts were made."""
    made = 0
    while not enough.is_set():
        try:
            with connect(database.writer_dsn, name) as connection:
                while not enough.is_set():
                    make_cut(connection)
                    made += 1
                    make_all_intents(connection)
                    if made >= LEAST_CUTS:
                        cut_often.set()
        except psycopg.OperationalError:
            continue
    return made


@contextmanager
def killing(database: Database, enough: threading.Event) -> Iterator[list[int]]:
    """Ends the cutters' connections again and again, wherever they are."""
    killed: list[int] = []

    def run() -> None:
        chance = random.Random(7)
        with psycopg.connect(database.dsn, autocommit=True) as owner:
            # Not for ever: on a slow machine a cutter might never come to its end between two kills.
            while sum(killed) < MOST_KILLS and not enough.wait(chance.uniform(0.1, 1.0)):
                rows = owner.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'cutter%'"
                ).fetchall()
                killed.append(len(rows))

    thread = threading.Thread(target=run)
    thread.start()
    yield killed
    thread.join()


def race(database: Database, *, postings: int, cutters: int, segments: int = SEGMENTS, make_cut: MakeCut = true_cut) -> tuple[Stored, int]:
    """Writers and cutters at once; then one true cutter for what is left. What is stored, and how many cuts there were."""
    enough, cut_often = threading.Event(), threading.Event()
    batches = postings // (SUBJECTS * segments * WRITERS) + 1
    with ThreadPoolExecutor(WRITERS + cutters) as pool:
        cutting = [pool.submit(cut_until, database, f"cutter-{number}", make_cut, cut_often, enough) for number in range(cutters)]
        writing = [pool.submit(write, database, batches, segments, seed, cut_often) for seed in range(WRITERS)]
        try:
            for writer in writing:
                writer.result()
        finally:
            enough.set()
        made = sum(cutter.result() for cutter in cutting)
    with connect(database.writer_dsn, "last") as connection:
        true_cut(connection)
        make_all_intents(connection)
    with psycopg.connect(database.dsn) as owner:
        row = owner.execute(STORED).fetchone()
        assert row is not None
        return Stored(*row), made


@pytest.mark.timeout(900)
def test_million_postings_of_stalling_writers_are_each_in_one_intent(ledger: Database) -> None:
    """Four writers, one cutter at full speed: values and counts stored in the intents are those of their postings."""
    began = time.monotonic()
    stored, made = race(ledger, postings=1_000_000, cutters=1)
    print(f"coverage: {stored}, {made} cuts in {time.monotonic() - began:.0f} s")
    assert stored.exact and stored.postings >= 1_000_000


@pytest.mark.timeout(600)
def test_two_cutters_cover_each_posting_once(ledger: Database) -> None:
    """They race for the same segments; one's intents stand."""
    stored, _ = race(ledger, postings=200_000, cutters=2)
    assert stored.exact


@pytest.mark.timeout(600)
def test_cutters_killed_anywhere_lose_and_double_nothing(ledger: Database) -> None:
    """Between cut and intents above all: a cut alone moves nothing."""
    enough = threading.Event()
    with killing(ledger, enough) as killed:
        try:
            stored, _ = race(ledger, postings=200_000, cutters=2)
        finally:
            enough.set()
    assert stored.exact
    assert sum(killed) > 5


@pytest.mark.timeout(600)
@pytest.mark.parametrize("make_cut", [cut_by_range, cut_in_repeatable_read])
def test_wrong_cutter_is_caught_by_value(ledger: Database, make_cut: MakeCut) -> None:
    """Usage that committed late is in no intent: the proof counts it, and sums show it."""
    stored, _ = race(ledger, postings=20_000, segments=1, cutters=1, make_cut=make_cut)
    assert stored.cut < stored.posted, "nothing was lost: the sabotage did not bite"
    assert stored.wrong > 0


@pytest.mark.timeout(600)
def test_sequence_that_caches_numbers_is_caught_by_value(ledger: Database) -> None:
    """Numbers handed out in blocks to each writer are used long after the cut that took them for done."""
    with psycopg.connect(ledger.dsn, autocommit=True) as owner:
        owner.execute("alter sequence ledger.batch_seq cache 20")
    stored, _ = race(ledger, postings=20_000, segments=1, cutters=1)
    assert stored.cut < stored.posted
    assert stored.wrong > 0
