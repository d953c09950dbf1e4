"""The cutter: fixes under the barrier what is committed, and makes intents of what is due, outside of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from trueup.contracts.errors import Broken
from trueup.ledger.intents import LARGEST_VALUE, Coverage, Draft
from trueup.ledger.store import barrier, queries

CUT_LOCK_TIMEOUT = "2s"


@dataclass(frozen=True, slots=True)
class State:
    """What there is to cut, from single rows: cheap enough to ask many times a second."""

    armed: bool
    newest_batch: int
    discovered_through: int
    judged: bool  # every uncovered segment was judged under the mappings, plans and pauses of now
    to_waive: bool  # something waits that will never be billed
    next_due_ms: int | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class Cut:
    """All batch numbers up to `through_batch` are committed, or will never be."""

    cut_id: int
    through_batch: int


def state(connection: psycopg.Connection) -> State:
    """What there is to cut now."""
    with connection.cursor(row_factory=class_row(State)) as cursor:
        row = cursor.execute(_sql("state")).fetchone()
    if row is None:
        raise Broken("ops.dispatch_progress has lost its row")
    return row


def fresh_due_ms(connection: psycopg.Connection, after_batch: int) -> int | None:
    """When the earliest posting to unsent behind the last cut is due; None when there is none."""
    row = connection.execute(_sql("fresh_due"), {"after": after_batch}).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def cut(connection: psycopg.Connection) -> Cut:
    """Fix what is committed. Waits for everybody who is in mid-posting, two seconds at most, and holds them up no longer."""
    with connection.transaction():
        connection.execute(_sql("read_committed"))
        connection.execute(_sql("lock_timeout"), {"timeout": CUT_LOCK_TIMEOUT})
        barrier.exclude(connection)
        row = connection.execute(_sql("record_cut")).fetchone()
        if row is None:
            raise Broken("a cut was not recorded")
    return Cut(cut_id=int(row[0]), through_batch=int(row[1]))


def discover(connection: psycopg.Connection, made: Cut) -> bool:
    """Note which segments the postings up to a cut touched; False when another cutter is at it."""
    with connection.transaction():
        connection.execute(_sql("read_committed"))
        row = connection.execute(_sql("lock_progress")).fetchone()
        if row is None:
            return False
        after = int(row[0])
        if made.through_batch > after:
            connection.execute(_sql("discover"), {"after": after, "through": made.through_batch})
            connection.execute(_sql("progress"), {"through": made.through_batch, "cut_id": made.cut_id})
            _judge(connection, everything=False)
    return True


def judge(connection: psycopg.Connection) -> None:
    """Judge every uncovered segment anew: a mapping, a plan, the catalogue or a pause has changed."""
    with connection.transaction():
        connection.execute(_sql("read_committed"))
        if connection.execute(_sql("lock_progress")).fetchone() is None:
            return
        row = connection.execute(_sql("judging")).fetchone()
        _judge(connection, everything=True)
        connection.execute(_sql("judge_intents"))
        connection.execute(_sql("judged"), {"judged_by": row[0] if row else ""})


def judge_waiting(connection: psycopg.Connection) -> None:
    """Judge what waits once more: numbers of mappings are given before they are committed, so `judge` may have come too early."""
    with connection.transaction():
        _judge(connection, everything=False)


def split(connection: psycopg.Connection, writer: str) -> int:
    """Divide, from their event rows, waiting postings that a boundary learnt later runs through; says how many segments.

    The next cut finds the parts. Nothing happens when another cutter looked through a newer cut meanwhile. A segment whose parts
    no posting can hold waits for a person; the others are divided without it.
    """
    found = _dividing(connection)
    if not found:
        return 0
    try:
        return _split(connection, found, writer)
    except psycopg.errors.NumericValueOutOfRange:
        segments = {(item[0], item[1]): [other for other in found if other[:2] == item[:2]] for item in found}
        return sum(_split_alone(connection, edges, writer) for edges in segments.values())


def _dividing(connection: psycopg.Connection, among: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
    """Segments to divide, as (subject, start, batch after which, boundary); all of them, or those among a few."""
    return connection.execute(_sql("dividing"), among or {"subject_ids": None, "segment_starts": None}).fetchall()


def _split_alone(connection: psycopg.Connection, edges: list[tuple[Any, ...]], writer: str) -> int:
    try:
        return _split(connection, edges, writer)
    except psycopg.errors.NumericValueOutOfRange:
        connection.execute(_sql("set_aside"), {"subject_ids": [edges[0][0]], "segment_starts": [edges[0][1]], "waits_for": ["too_large"]})
        return 0


def _split(connection: psycopg.Connection, found: list[tuple[Any, ...]], writer: str) -> int:
    with connection.transaction():
        connection.execute(_sql("read_committed"))
        barrier.share(connection)
        # Whoever passed by here would go on to make an intent of what ought to be divided. What it waited for may have divided some.
        row = connection.execute(_sql("await_progress")).fetchone()
        still = set(_dividing(connection))
        found = [item for item in found if item in still]
        if row is None or not found:
            return 0
        batch_id = barrier.next_batch(connection)
        connection.execute(_sql("insert_batch"), {"batch_id": batch_id, "kind": "split", "writer": writer})
        given = {
            "subject_ids": [item[0] for item in found],
            "segment_starts": [item[1] for item in found],
            "after_batches": [item[2] for item in found],
            "boundaries": [item[3] for item in found],
        }
        sums = connection.execute(_sql("split"), given | {"through": row[0], "batch_id": batch_id}).fetchone()
        if sums is None or sums[0] != sums[2] or sums[1] != sums[3]:
            raise Broken(f"dividing postings did not keep their sums: {sums}")
    return len({(item[0], item[1]) for item in found})


def waive(connection: psycopg.Connection, writer: str, most: int) -> int:
    """Move what is never billed from unsent to waived, up to the last cut that was looked through; says how many segments.

    Nothing is sent of it and no lane is asked, so it needs no intent; a row of its own says which postings were moved. At most so
    many postings at once, or as many as one batch holds of a segment.
    """
    with connection.transaction():
        connection.execute(_sql("read_committed"))
        barrier.share(connection)
        progress = connection.execute(_sql("lock_progress")).fetchone()
        if progress is None:
            return 0
        batch_id = barrier.next_batch(connection)
        connection.execute(_sql("insert_batch"), {"batch_id": batch_id, "kind": "waiver", "writer": writer})
        given = {"batch_id": batch_id, "through": progress[0], "cut_id": progress[1], "most": most}
        row = connection.execute(_sql("waive"), given).fetchone()
    return 0 if row is None else int(row[0])


def coverages(connection: psycopg.Connection, most: int, due_by_ms: int | None = None) -> list[Coverage]:
    """What is due, now or by the instant given, and covered by no intent, up to the last cut that was looked through."""
    with connection.cursor(row_factory=class_row(Coverage)) as cursor:
        return cursor.execute(_sql("coverages"), {"most": most, "due_by_ms": due_by_ms, "largest": LARGEST_VALUE}).fetchall()


def make_intents(connection: psycopg.Connection, drafts: Sequence[Draft], exhausted: Sequence[Coverage], writer: str) -> int:
    """Write intents and move their quantity to in_flight, together; says how many were new.

    What another cutter made first is left as it is, what is too large to be sent waits for a person. Nothing happens when a
    newer cut was looked through since the coverage was read: the same segments come again with it. What was divided or judged
    otherwise since, or is to be divided before, is left for the next round.
    """
    everything = [item.coverage for item in drafts] + list(exhausted)
    with connection.transaction():
        connection.execute(_sql("read_committed"))
        barrier.share(connection)
        locked = connection.execute(_sql("lock_covered"), {"through": everything[0].looked_through}).fetchone()
        if locked is None:
            return 0
        still = _still_due(connection, everything)
        drafts = [item for item in drafts if _segment(item.coverage) in still]
        everything = [item for item in everything if _segment(item) in still]
        made = _insert_intents(connection, drafts, int(locked[0]), writer) if drafts else 0
        connection.execute(_sql("covered"), _segments([item for item in everything if item.set_aside_as is None and item.whole]))
        aside = [item for item in everything if item.set_aside_as is not None]
        connection.execute(_sql("set_aside"), _segments(aside) | {"waits_for": [item.set_aside_as for item in aside]})
    return made


def _still_due(connection: psycopg.Connection, read: Sequence[Coverage]) -> set[tuple[object, object]]:
    given = {
        "stripe_customers": [item.stripe_customer for item in read],
        "stripe_event_names": [item.stripe_event_name for item in read],
        "quantities": [item.quantity for item in read],
        "largest": LARGEST_VALUE,
    }
    still = set(connection.execute(_sql("still_due"), _segments(read) | given).fetchall())
    # Another cutter may have judged them and not divided them yet: an intent through the boundary could never be taken back.
    return still - {(item[0], item[1]) for item in _dividing(connection, _segments(read))}


def _segment(covered: Coverage) -> tuple[object, object]:
    return covered.subject_id, covered.segment_start


def _segments(covered: Sequence[Coverage]) -> dict[str, object]:
    return {"subject_ids": [item.subject_id for item in covered], "segment_starts": [item.segment_start for item in covered]}


def _insert_intents(connection: psycopg.Connection, drafts: Sequence[Draft], cut_id: int, writer: str) -> int:
    batch_id = barrier.next_batch(connection)
    connection.execute(_sql("insert_batch"), {"batch_id": batch_id, "kind": "intent", "writer": writer})
    covered = [item.coverage for item in drafts]
    lanes = {
        "stripe_customers": [item.stripe_customer for item in covered],
        "stripe_event_names": [item.stripe_event_name for item in covered],
    }
    if connection.execute(_sql("make_lanes"), lanes).rowcount:
        connection.execute(_sql("make_lane_states"))
    row = connection.execute(
        _sql("make_intents"),
        lanes
        | {
            "batch_id": batch_id,
            "cut_id": cut_id,
            "subject_ids": [item.subject_id for item in covered],
            "segment_starts": [item.segment_start for item in covered],
            "segment_ends": [item.segment_end for item in covered],
            "after_batches": [item.after_batch for item in covered],
            "through_batches": [item.through_batch for item in covered],
            "quantities": [item.quantity for item in covered],
            "events": [item.events for item in covered],
            "oldest": [item.oldest_event_time for item in covered],
            "newest": [item.newest_event_time for item in covered],
            "identifiers": [item.identifier for item in drafts],
            "stripe_timestamps_ms": [item.stripe_timestamp_ms for item in drafts],
            "bodies": [item.body for item in drafts],
            "digests": [item.body_sha256 for item in drafts],
        },
    ).fetchone()
    return 0 if row is None else int(row[0])


def _judge(connection: psycopg.Connection, *, everything: bool) -> None:
    connection.execute(_sql("judge"), {"everything": everything})


def _sql(name: str) -> bytes:
    return queries.load("dispatch_cut")[name]
