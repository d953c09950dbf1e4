"""Capture's decisions as tables: what each progress record and its records become."""

from dataclasses import replace

import pytest

from services.stripe_sink.core import capture
from tests.makers.capture_batches import (
    CATALOGUE_TOML,
    NOON_MS,
    make_announced,
    make_event,
    make_forwarded,
    make_rejected,
    make_timeline,
)
from trueup.contracts import keys
from trueup.contracts.errors import Broken
from trueup.contracts.progress import ZERO, Tally
from trueup.ledger.accounts import Account

MINUTE_MS = 60_000


def _slice(**announced):
    return capture.slice_of(make_announced(**announced), make_timeline())


def _decide(*slices, kept=None):
    return capture.decide(slices, kept or {})


def test_slice_merges_on_time_and_late_by_source_offset():
    """Which of two deliveries came first is decided by the source topic, whatever topic each travelled on."""
    part = _slice(
        on_time=[make_forwarded(1, make_event("a")), make_forwarded(4, make_event("d"))],
        late=[make_forwarded(2, make_event("b")), make_forwarded(3, make_event("c"))],
    )
    assert [(candidate.row.id, candidate.row.late) for candidate in part.candidates] == [
        ("a", False),
        ("b", True),
        ("c", True),
        ("d", False),
    ]


def test_decide_new_event_becomes_row_and_posting():
    """On time usage goes to unsent, in the roll-up window of its event time."""
    decision = _decide(
        _slice(
            on_time=[make_forwarded(0, make_event(event_time_ms=NOON_MS + 7 * MINUTE_MS, quantity=7), arrival_ms=NOON_MS + 8 * MINUTE_MS)]
        )
    )
    (row,) = decision.events
    assert (row.identity, row.billable_quantity, row.late) == (keys.identity("inference", "e1"), 7, False)
    (posting,) = decision.postings
    assert posting == (
        "acme",
        "tokens",
        NOON_MS + 5 * MINUTE_MS,
        NOON_MS + 10 * MINUTE_MS,
        Account.UNSENT,
        7,
        1,
        row.event_time_ms,
        row.event_time_ms,
    )
    assert decision.source_batches[0].accepted == Tally(1, 7, keys.id_sum_term(row.identity))


def test_decide_late_event_goes_to_review():
    """Until periods are known, late usage waits for a decision, whatever the policy."""
    decision = _decide(_slice(late=[make_forwarded(0, make_event())]))
    assert [posting.to_account for posting in decision.postings] == [Account.IN_REVIEW]
    assert decision.events[0].late


@pytest.mark.parametrize(
    ("quantity", "corrects", "weighs"),
    [(5, None, 1), (0, None, 1), (-5, None, -1), (-5, "e0", -1)],
)
def test_decide_count_meter_weighs_one(quantity, corrects, weighs):
    """A meter that counts gives each event the weight 1, or -1 if it takes something back; the quantity is kept as published."""
    event = make_event(meter="runs", quantity=quantity, reason="failed" if quantity < 0 else None, corrects=corrects)
    decision = _decide(_slice(on_time=[make_forwarded(0, event)]))
    assert (decision.events[0].quantity, decision.events[0].billable_quantity, decision.postings[0].quantity) == (quantity, weighs, weighs)


def test_decide_postings_are_grouped_per_subject_segment_and_account():
    """One posting holds everything that one batch adds to one window of one customer's meter."""
    on_time = [
        make_forwarded(0, make_event("a", quantity=1)),
        make_forwarded(1, make_event("b", quantity=2, event_time_ms=NOON_MS + MINUTE_MS)),
        make_forwarded(2, make_event("c", quantity=4, event_time_ms=NOON_MS + 5 * MINUTE_MS)),
        make_forwarded(3, make_event("d", quantity=8, customer="globex")),
    ]
    decision = _decide(_slice(on_time=on_time, late=[make_forwarded(4, make_event("e", quantity=16))]))
    assert [(p.customer, p.segment_start_ms - NOON_MS, p.to_account, p.quantity, p.events) for p in decision.postings] == [
        ("acme", 0, Account.UNSENT, 3, 2),
        ("acme", 0, Account.IN_REVIEW, 16, 1),
        ("acme", 5 * MINUTE_MS, Account.UNSENT, 4, 1),
        ("globex", 0, Account.UNSENT, 8, 1),
    ]
    assert (decision.postings[0].oldest_event_time_ms, decision.postings[0].newest_event_time_ms) == (NOON_MS, NOON_MS + MINUTE_MS)


def test_decide_posting_beyond_64_bits_is_split():
    """Ten thousand events of fifteen digits do not overflow a posting: there is a second one."""
    largest = 10**15 - 1
    on_time = [make_forwarded(n, make_event(str(n), quantity=largest)) for n in range(9_300)]
    decision = _decide(_slice(on_time=on_time))
    assert len(decision.postings) == 2
    assert sum(posting.quantity for posting in decision.postings) == 9_300 * largest
    assert all(abs(posting.quantity) < 2**63 for posting in decision.postings)


@pytest.mark.parametrize("again", ["in_the_batch", "in_the_ledger"])
@pytest.mark.parametrize(("quantity", "outcome"), [(7, "duplicate"), (8, "conflict")])
def test_decide_same_identity_again(again, quantity, outcome):
    """Equal values are a duplicate, other values a conflict with both hashes; neither is billed."""
    first, second = make_event("a", quantity=7), make_event("a", quantity=quantity)
    if again == "in_the_batch":
        slices = [_slice(on_time=[make_forwarded(0, first), make_forwarded(1, second)])]
        kept = {}
    else:
        slices = [_slice(on_time=[make_forwarded(1, second)])]
        kept = {keys.identity(first.source, first.id): keys.payload_hash(first)}
    decision = _decide(*slices, kept=kept)
    assert len(decision.events) == (1 if again == "in_the_batch" else 0)
    assert (len(decision.duplicates), len(decision.conflicts)) == ((1, 0) if outcome == "duplicate" else (0, 1))
    assert sum(posting.quantity for posting in decision.postings) == (7 if again == "in_the_batch" else 0)
    if outcome == "conflict":
        (conflict,) = decision.conflicts
        assert (conflict.kept_payload_hash, conflict.seen_payload_hash) == (keys.payload_hash(first), keys.payload_hash(second))
        assert conflict.source_offset == 1


def test_decide_again_in_a_later_progress_record_of_the_batch():
    """Several progress records share a transaction; each row of source_batch says what became of its own events."""
    event = make_event("a")
    first = capture.slice_of(make_announced(on_time=[make_forwarded(0, event)]), make_timeline())
    second = capture.slice_of(make_announced(first_offset=1, on_time=[make_forwarded(1, event)]), make_timeline())
    decision = _decide(first, second)
    assert [(row.accepted.events, row.ledger_duplicate.events) for row in decision.source_batches] == [(1, 0), (0, 1)]


def test_every_received_event_ends_in_one_tally():
    """Received = accepted + duplicate + conflict, in count, quantity and id sum."""
    on_time = [make_forwarded(0, make_event("a")), make_forwarded(1, make_event("a")), make_forwarded(2, make_event("a", quantity=9))]
    (row,) = _decide(_slice(on_time=on_time, late=[make_forwarded(3, make_event("b"))])).source_batches
    assert row.received_on_time + row.received_late == row.accepted + row.ledger_duplicate + row.conflict
    assert [tally.events for tally in (row.accepted, row.ledger_duplicate, row.conflict)] == [2, 1, 1]


def test_refusal_keeps_bytes_and_what_could_be_read():
    """A refused record keeps its bytes up to 64 KiB, and takes no identity away from its redrive."""
    event = make_event("bad\0id", meter="nothing")
    rejected = [
        make_rejected(0, b"\xff" * 65_536, rejected_offset=4),
        make_rejected(1, b"\xff" * 65_537, reason="too_large", rejected_offset=5),
        make_rejected(2, b"event", reason="bad_field", field="id", event=event, rejected_offset=6),
        make_rejected(3, None, rejected_offset=7),
    ]
    decision = _decide(_slice(rejected=rejected))
    kept = [(row.record is None, row.record_bytes, row.rejected_offset) for row in decision.refusals]
    assert kept == [(False, 65_536, 4), (True, 65_537, 5), (False, 5, 6), (True, 0, 7)]
    assert (decision.refusals[2].id, decision.refusals[2].quantity) == ("bad\N{REPLACEMENT CHARACTER}id", 7)
    assert decision.refusals[2].identity == keys.identity("inference", "bad\0id")
    assert not decision.events


def test_usage_before_bill_from_goes_to_shadow():
    """Before `bill_from` usage is computed and compared, never sent; the window that it divides is cut there."""
    from trueup.runtime.clock import rfc3339

    text = CATALOGUE_TOML + f'bill_from = "{rfc3339(NOON_MS + 2 * MINUTE_MS)}"\n'
    announced = make_announced(
        on_time=[
            make_forwarded(0, make_event("a", event_time_ms=NOON_MS)),
            make_forwarded(1, make_event("b", event_time_ms=NOON_MS + 2 * MINUTE_MS)),
        ]
    )
    decision = capture.decide([capture.slice_of(announced, make_timeline(text))], {})
    assert [(p.to_account, p.segment_start_ms - NOON_MS, p.segment_end_ms - NOON_MS) for p in decision.postings] == [
        (Account.SHADOW, 0, 2 * MINUTE_MS),
        (Account.UNSENT, 2 * MINUTE_MS, 5 * MINUTE_MS),
    ]


def _broken_announcements():
    one = make_forwarded(3, make_event("a"))
    fine = make_announced(first_offset=0, on_time=[one], late=[make_forwarded(4, make_event("b"))])
    progress = fine.progress
    yield "one record lost", replace(fine, on_time=[])
    yield "one record doubled", replace(fine, on_time=[one, one])
    yield "another event of the same quantity", replace(fine, on_time=[make_forwarded(3, make_event("z"))])
    yield "another quantity", replace(fine, on_time=[make_forwarded(3, make_event("a", quantity=8))])
    yield "offset before the range", replace(fine, progress=replace(progress, first_offset=4))
    yield "offset after the range", replace(fine, progress=replace(progress, next_offset=4))
    yield "late one on the on-time topic", replace(fine, on_time=[one, *fine.late], late=[])
    yield "one offset on two topics", make_announced(on_time=[one], late=[make_forwarded(3, make_event("b"))])
    yield "falling offsets", make_announced(on_time=[make_forwarded(4, make_event("b")), one])
    yield "a suspect that nobody announced", replace(fine, progress=replace(progress, suspect_events=1))
    yield "arrived is not what was decided", replace(fine, progress=replace(progress, arrived=progress.arrived + Tally(0, 1, 0)))
    yield "more events than offsets", replace(fine, progress=replace(progress, first_offset=3, next_offset=4))
    yield "a range of nothing", make_announced(first_offset=5, next_offset=5)
    yield "a meter that the catalogue lacks", make_announced(on_time=[make_forwarded(0, make_event(meter="nothing"))])


@pytest.mark.parametrize(("what", "announced"), tuple(_broken_announcements()), ids=lambda value: value if isinstance(value, str) else "")
def test_slice_that_disagrees_with_its_progress_record_halts(what, announced):
    """Any disagreement between what dedupe said and what arrived stops the hop: nothing is guessed."""
    with pytest.raises(Broken):
        capture.slice_of(announced, make_timeline())


def test_chain_gap_halts():
    """A progress record that does not begin where the last one ended means that one was lost."""
    progress = make_announced(first_offset=5, on_time=[make_forwarded(5, make_event())]).progress
    capture.check_chain(None, progress)
    capture.check_chain(5, progress)
    with pytest.raises(Broken):
        capture.check_chain(4, progress)


def test_progress_without_forwarded_events_still_counts():
    """A batch of duplicates only forwards nothing, and is still accounted for at the source."""
    (row,) = _decide(_slice(dropped=[make_event("a"), make_event("b")])).source_batches
    assert (row.arrived.events, row.duplicate.events, row.accepted) == (2, 2, ZERO)
