"""Writers that capture and cutters that cut, as processes of their own, at full speed and with random stalls.

    python -m tests.makers.coverage_race writer DSN OWNER_DSN FOLDER '{"partition": 0, "batches": 250, "seed": 1}'
    python -m tests.makers.coverage_race cutter DSN OWNER_DSN FOLDER '{"way": "honest", "dies": 0.0, "seed": 1, "rest_seconds": 0.0}'

The ways that are not `honest` are cutters that look right and lose usage: each leaves out one rule of law 5.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import psycopg

from services.stripe_sink.core.dispatch_intent import draft
from tests.makers.capture_batches import NOON_MS
from trueup.ledger.accounts import Account
from trueup.ledger.captured import Decision, PostingRow
from trueup.ledger.store import barrier, capture, queries
from trueup.ledger.store.connection import connect, is_retriable
from trueup.ledger.store.dispatch import cuts

CUSTOMERS, WINDOWS, SAME = 30, 3, 11
POSTINGS_PER_BATCH = CUSTOMERS * WINDOWS * SAME
WINDOW_MS = 300_000
BATCHES_PER_WINDOW = 8
MOST_COVERED = 2_000
STOP = "stop"


def customer(number: int) -> str:
    """An id that stands for itself at Stripe, so that nothing has to be mapped."""
    return f"cus_{number}"


def write(dsn: str, partition: int, batches: int, seed: int) -> None:
    """Capture batches of postings through the real transaction, standing still at random after the number is drawn."""
    chance = random.Random(f"{seed}/{partition}")
    never = threading.Event()

    def stall(place: capture.Place) -> None:
        # Mostly a little, at times ten times that: whoever drew a number must be free to commit long after the next ones.
        if chance.random() < 0.4:
            never.wait(chance.uniform(0, 0.15 if chance.random() < 0.1 else 0.015))

    with connect(dsn, f"writer-{partition}") as connection:
        claim = capture.claim(connection, "writer", partition, {"progress": 0})
        subjects = capture.number_subjects(connection, {(customer(number), "tokens") for number in range(CUSTOMERS)})
        position = claim.positions["progress"]
        while position < batches:
            decision = Decision((), (), (), (), _postings(chance, position), ())
            advance = capture.Advance("progress", position, position + 1)
            batch = capture.Batch(partition, claim.epoch, (advance,), (), lambda _kept, decision=decision: decision)  # type: ignore[misc]
            try:
                capture.capture(connection, "writer", batch, subjects, stall)
            except psycopg.Error as error:
                if not is_retriable(error):
                    raise
                continue  # the cutter was waited for too long; the same batch again
            position += 1


def _postings(chance: random.Random, batch: int) -> tuple[PostingRow, ...]:
    """Windows move on with the batches, as time does; each is posted to many times before."""
    first = NOON_MS + batch // BATCHES_PER_WINDOW * WINDOW_MS
    return tuple(
        PostingRow(customer(number), "tokens", start, start + WINDOW_MS, Account.UNSENT, chance.randrange(1, 1_000), 1, start, start)
        for number in range(CUSTOMERS)
        for start in range(first, first + WINDOWS * WINDOW_MS, WINDOW_MS)
        for _ in range(SAME)
    )


def cut(dsn: str, owner_dsn: str, folder: Path, way: str, dies: float, seed: int, rest_seconds: float) -> None:
    """Cut and make intents again and again; when asked to stop, once more for all that is left."""
    chance = random.Random(f"{seed}/{os.getpid()}")
    resting = threading.Event()
    if way == "no barrier":
        barrier.exclude = lambda connection: None
    if way == "repeatable read":
        _without_read_committed()
    with connect(dsn, "cutter") as connection, connect(owner_dsn, "clock") as clock:
        connection.execute("set enable_seqscan = off")  # as the cutter's own session does
        if way == "repeatable read":
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        while True:
            last = (folder / STOP).exists()
            try:
                done = _one_round(connection, clock, way, chance, 0.0 if last else dies, f"cutter-{seed}")
            except psycopg.Error as error:
                if not is_retriable(error):
                    raise
                done = False
            if last and done:
                return
            resting.wait(rest_seconds)


def _one_round(connection: psycopg.Connection, clock: psycopg.Connection, way: str, chance: random.Random, dies: float, name: str) -> bool:
    """One cut and all intents that it allows; true when nothing was left."""
    # Postings are due a roll-up after they were recorded: the date moves on, so that each round finds those of the last one due.
    clock.execute("update ops.simulated_clock set now = now + interval '10 minutes'")
    if way == "repeatable read":
        # Lock, cut and sums in one transaction: its snapshot is older than the lock, so what committed meanwhile is not seen.
        with connection.transaction():
            return _cut_and_cover(connection, chance, dies, name)
    return _cut_and_cover(connection, chance, dies, name)


def _cut_and_cover(connection: psycopg.Connection, chance: random.Random, dies: float, name: str) -> bool:
    made = cuts.cut(connection)
    if chance.random() < dies:
        os.kill(os.getpid(), signal.SIGKILL)
    cuts.discover(connection, made)
    covered = cuts.coverages(connection, MOST_COVERED)
    if chance.random() < dies:
        os.kill(os.getpid(), signal.SIGKILL)
    if covered:
        drafts = [draft(coverage, stripe_account="acct_test") for coverage in covered if coverage.events]
        cuts.make_intents(connection, drafts, [coverage for coverage in covered if not coverage.events], name)
    left = connection.execute("select count(*) from ops.uncovered_segment").fetchone()
    return left == (0,)


def _without_read_committed() -> None:
    """What each of the cutter's transactions insists on."""
    statements = dict(queries.load("dispatch_cut")) | {"read_committed": b"select 1"}
    load = queries.load
    queries.load = lambda file: statements if file == "dispatch_cut" else load(file)


if __name__ == "__main__":
    _, role, dsn, owner_dsn, folder, given = sys.argv
    if role == "writer":
        write(dsn, **json.loads(given))
    else:
        cut(dsn, owner_dsn, Path(folder), **json.loads(given))
    print(f"{role} ended after {time.process_time():.1f} CPU seconds", file=sys.stderr)
