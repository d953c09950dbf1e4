"""Coverage is exact: each posting is in one intent, and what an intent stores equals its postings, whoever runs beside it.

A range of batch numbers always "covers"; what commits late is missing in the stored value only. So the values are compared.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from devstack.process import Command, spawn, wait_until
from tests.conftest import Database
from tests.makers.capture_batches import CATALOGUE_TOML, NOON_MS
from tests.makers.coverage_race import POSTINGS_PER_BATCH, STOP
from tests.makers.ledger_books import one
from trueup.contracts.catalogue import FROM_THE_BEGINNING_MS, CatalogueVersion, VersionInForce, parse
from trueup.ledger.store.catalogue import record_version
from trueup.ledger.store.clock import set_simulated_now

WRITERS = 4
MINUTE_MS = 60_000

# What intents store beside what their ranges hold, and what no intent's range holds.
COVERED = """
with held as (
    select i.intent_id, i.quantity, i.events, coalesce(sum(p.quantity), 0) as in_range, count(p.batch_id) as postings
    from ledger.intent i
    left join ledger.posting p on p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.to_account = 2
        and p.batch_id > i.after_batch and p.batch_id <= i.through_batch
    group by i.intent_id, i.quantity, i.events
)
select count(*), coalesce(sum(quantity), 0)::bigint, coalesce(sum(events), 0)::bigint,
    coalesce(sum(in_range), 0)::bigint, coalesce(sum(postings), 0)::bigint,
    count(*) filter (where quantity <> in_range or events <> postings), (select count(*) from ledger.cut)
from held
"""
OVERLAPPING = """
select count(*) from (
    select i.after_batch, lag(i.through_batch) over (partition by i.subject_id, i.segment_start order by i.after_batch) as before
    from ledger.intent i
) r where r.before is not null and r.after_batch <> r.before
"""


@dataclass(frozen=True)
class Verdict:
    """What the tables say after a race."""

    posted: int
    quantity: int
    intents: int
    stored_quantity: int
    stored_postings: int
    in_ranges: int
    wrong_values: int
    cuts: int
    overlapping: int

    @property
    def exact(self) -> bool:
        """Every posting in exactly one intent, with its value."""
        return (
            self.wrong_values == self.overlapping == 0
            and self.stored_postings == self.in_ranges == self.posted
            and self.stored_quantity == self.quantity
        )


@dataclass
class Race:
    """One database, four writers and some cutters."""

    database: Database
    folder: Path

    def __post_init__(self) -> None:
        with psycopg.connect(self.database.dsn, autocommit=True) as owner:
            set_simulated_now(owner, NOON_MS + 24 * 60 * MINUTE_MS)
            in_force = VersionInForce(1, FROM_THE_BEGINNING_MS, parse(CATALOGUE_TOML))
            record_version(owner, CatalogueVersion(1, CATALOGUE_TOML, "test"), NOON_MS, in_force)
            # Disarmed, nothing is cut before its deadline.
            owner.execute(
                "insert into ledger.arming (action, reason, acted_by, database_identity, lanes_compared, lanes_different, recorded_at)"
                " values ('arm', 'test', 'test', ops.database_identity(), 0, 0, ops.now())"
            )

    def start(self, role: str, name: str, **given: object) -> subprocess.Popen[bytes]:
        """A writer or a cutter."""
        dsns = (self.database.writer_dsn, self.database.dsn)
        arguments = ("-m", "tests.makers.coverage_race", role, *dsns, str(self.folder), json.dumps(given))
        return spawn(Command((sys.executable, *arguments)), self.folder / f"{name}.log")

    def run(
        self, postings: int, *, cutters: int = 1, way: str = "honest", dies: float = 0.0, rest_seconds: float = 0.0
    ) -> tuple[Verdict, int]:
        """Let them race until so many postings are there and covered, counted with those of the runs before.

        Gives the verdict and how often a cutter died.
        """
        (self.folder / STOP).unlink(missing_ok=True)
        batches = -(-postings // POSTINGS_PER_BATCH // WRITERS)
        cutting = [self.start("cutter", f"cutter-{n}", way=way, dies=dies, seed=n, rest_seconds=rest_seconds) for n in range(cutters)]
        deaths = 0

        def tend() -> None:
            """Start again who died."""
            nonlocal deaths
            for number, process in enumerate(cutting):
                if process.poll() not in (None, 0):
                    assert process.returncode == -signal.SIGKILL, (self.folder / f"cutter-{number}.log").read_text()
                    deaths += 1
                    cutting[number] = self.start(
                        "cutter", f"cutter-{number}", way=way, dies=dies, seed=number + deaths, rest_seconds=rest_seconds
                    )

        def somebody_cuts() -> bool:
            tend()
            return self.verdict().cuts > 0

        # Nothing is posted before somebody cuts: on a busy machine the race would be over before it began.
        assert wait_until(somebody_cuts, 60, 0.1)
        writing = [self.start("writer", f"writer-{n}", partition=n, batches=batches, seed=7) for n in range(WRITERS)]
        give_up_at = time.monotonic() + 240
        while any(process.poll() is None for process in (*writing, *cutting)):
            assert time.monotonic() < give_up_at, [path.read_text() for path in self.folder.glob("*.log")]
            assert all(writer.poll() in (None, 0) for writer in writing), (self.folder / "writer-0.log").read_text()
            if all(writer.poll() == 0 for writer in writing):
                (self.folder / STOP).touch()
            tend()
            time.sleep(0.05)
        return self.verdict(), deaths

    def made_by_cutters(self) -> list[int]:
        """How many batches of intents each cutter made."""
        with psycopg.connect(self.database.dsn) as looking:
            return [
                int(count) for (count,) in looking.execute("select count(*) from ledger.batch where writer like 'cutter-%' group by writer")
            ]

    def verdict(self) -> Verdict:
        """What the tables say."""
        with psycopg.connect(self.database.dsn) as looking:
            looking.execute("analyze ledger.posting, ledger.intent")
            posted = one(looking, "select count(*), coalesce(sum(quantity), 0)::bigint from ledger.posting where to_account = 2")
            intents, stored_quantity, stored, _, in_ranges, wrong, cuts = one(looking, COVERED)
            (overlapping,) = one(looking, OVERLAPPING)
        return Verdict(*posted, intents, stored_quantity, stored, in_ranges, wrong, cuts, overlapping)


@pytest.fixture
def race(database: Database, tmp_path: Path) -> Race:
    return Race(database, tmp_path)


@pytest.mark.timeout(400)
def test_a_million_postings_and_a_cutter_at_full_speed(race: Race):
    """Four capturing writers that stall at random, a cutter that never rests: each of 10⁶ postings is in one intent, with its value."""
    verdict, _ = race.run(1_000_000)
    print(verdict)
    assert verdict.posted >= 1_000_000
    assert verdict.cuts >= 20, "too few cuts to prove anything"
    assert verdict.exact, verdict


@pytest.mark.timeout(1_000)
def test_two_cutters_at_once(race: Race):
    """A second cutter makes nothing twice and leaves nothing out."""
    # On a busy machine one of them may take all there is: they race on until both had something.
    for heat in range(1, 11):
        # One that never rests takes all there is again and again before the other comes to the lock.
        verdict, _ = race.run(heat * 200_000, cutters=2, rest_seconds=0.02)
        made = race.made_by_cutters()
        print(verdict, made)
        assert verdict.exact, verdict
        if len(made) == 2 and min(made) >= 3:
            break
    else:
        pytest.fail(f"one of them had nothing to do: {made}")


@pytest.mark.timeout(1_000)
def test_cutters_killed_between_cut_and_intents(race: Race):
    """A cut without its intents is made good by the next cutter."""
    # On a busy machine there are fewer cuts to die in: they race on until enough of them did.
    deaths = 0
    for heat in range(1, 7):
        verdict, died = race.run(heat * 200_000, cutters=2, dies=0.15)
        deaths += died
        print(verdict, deaths)
        assert verdict.exact, verdict
        if deaths >= 4:
            break
    assert deaths >= 4


@pytest.mark.timeout(1_000)
@pytest.mark.parametrize("way", ["no barrier", "repeatable read", "cache of 20"])
def test_wrong_cutters_are_caught_by_value(race: Race, way: str):
    """Three cutters that look right: by id range without the barrier, in one REPEATABLE READ transaction, and over a cached sequence."""
    if way == "cache of 20":
        with psycopg.connect(race.database.dsn, autocommit=True) as owner:
            owner.execute("alter sequence ledger.batch_seq cache 20")
    # Without the barrier it takes a commit that falls between a cut and its intents: on a busy machine that is rarer, and they race on.
    for heat in range(1, 9):
        # A wrong cutter at full speed may lose everything, which looks like one that does nothing: it rests between rounds.
        verdict, _ = race.run(heat * (300_000 if way == "no barrier" else 100_000), way=way, rest_seconds=0.05)
        print(way, verdict)
        assert verdict.cuts >= 5, "too few cuts to prove anything"
        if not verdict.exact:
            break
    assert not verdict.exact, "the check would not notice a cutter that loses usage"
    assert 0 < verdict.stored_quantity < verdict.quantity
    assert verdict.wrong_values > 0
    assert verdict.overlapping == 0, "the ranges look right; only the values are short"
