"""One story that the finance views and the proof are tested on; every figure in those tests follows from this page by hand.

Its noon is NOON_MS, 14:00 UTC on 2026-09-21.

customer  meter    when    quantity
acme      tokens   12:01          7  e1, delivered again in the second batch (a ledger duplicate)
acme      tokens   12:02          5  e2, delivered again as 6 in the second batch (a conflict)
acme      tokens   12:03         -3  e3, reason "refund", takes back e1
acme      tokens   13:01        100  e4
acme      tokens   10:30         40  l1, late by 65 min 1 s beyond its window of 45 min
acme      seconds  12:04       1.50  s1
acme      runs     12:05          1  r1 (counts as 1 whatever its quantity), waits for a plan
globex    tokens   12:06          9  g1, nobody mapped globex
acme's period for tokens, item si_acme, is ten days old and has twenty to go.
refused: 3 bytes of nothing, and n1 (negative without a reason); dropped by the dedupe room: one delivery of e4.
"""

from __future__ import annotations

from tests.makers.capture_batches import make_announced, make_event, make_forwarded, make_rejected
from tests.makers.true_ledger import ACK, HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, hours
from trueup.ledger.periods import PeriodFact
from trueup.ledger.store import periods
from trueup.ledger.store.dispatch import cuts

DAY_MS = 24 * HOUR_MS
PERIOD = PeriodFact(
    "si_acme", "sub_acme", "cus_acme", "price_tokens", "tokens", "basic", "usd", NOON_MS - 10 * DAY_MS, NOON_MS + 20 * DAY_MS
)
ARRIVAL_MS = NOON_MS + 20 * MINUTE_MS + 1_000
LATER_MS = NOON_MS + 62 * MINUTE_MS


def _at(minutes: int) -> int:
    return NOON_MS + minutes * MINUTE_MS


def captured_story(ledger: TrueLedger) -> None:
    """Two batches of partition 0, captured at 12:30 and 13:05."""
    ledger.map("acme")
    on_time = [
        make_forwarded(0, make_event("e1", event_time_ms=_at(1), quantity=7), arrival_ms=ARRIVAL_MS),
        make_forwarded(1, make_event("e2", event_time_ms=_at(2), quantity=5), arrival_ms=ARRIVAL_MS),
        make_forwarded(2, make_event("e3", event_time_ms=_at(3), quantity=-3, reason="refund", corrects="e1"), arrival_ms=ARRIVAL_MS),
        make_forwarded(3, make_event("s1", event_time_ms=_at(4), meter="seconds", quantity=150), arrival_ms=ARRIVAL_MS),
        make_forwarded(4, make_event("r1", event_time_ms=_at(5), meter="runs", quantity=17), arrival_ms=ARRIVAL_MS),
        make_forwarded(5, make_event("g1", event_time_ms=_at(6), customer="globex", quantity=9), arrival_ms=ARRIVAL_MS),
    ]
    late = [make_forwarded(6, make_event("l1", event_time_ms=_at(-90), quantity=40), arrival_ms=ARRIVAL_MS)]
    rejected = [
        make_rejected(7, b"abc", arrival_ms=ARRIVAL_MS),
        make_rejected(
            8,
            b"n1",
            reason="negative_without_reason",
            field="reason",
            event=make_event("n1", quantity=-1),
            rejected_offset=1,
            arrival_ms=ARRIVAL_MS,
        ),
    ]
    ledger.set_now(NOON_MS + 30 * MINUTE_MS)
    ledger.capture(make_announced(on_time=on_time, late=late, rejected=rejected))
    again = [
        make_forwarded(9, make_event("e4", event_time_ms=_at(61), quantity=100), arrival_ms=LATER_MS),
        make_forwarded(10, make_event("e1", event_time_ms=_at(1), quantity=7), arrival_ms=LATER_MS),
        make_forwarded(11, make_event("e2", event_time_ms=_at(2), quantity=6), arrival_ms=LATER_MS, suspect=True),
    ]
    dropped = [make_event("e4", event_time_ms=_at(61), quantity=100)]
    ledger.set_now(NOON_MS + 65 * MINUTE_MS)
    ledger.capture(make_announced(first_offset=9, on_time=again, dropped=dropped, progress_offset=1))


def told_story(ledger: TrueLedger) -> None:
    """The whole of it: captured, cut shortly before and sent at 14:00, acknowledged, and read at 17:00 with the very same figures."""
    captured_story(ledger)
    ledger.arm()
    ledger.cut(NOON_MS + 2 * HOUR_MS - MINUTE_MS)
    # Learnt between cut and call: seconds, which no price counts, would have waited for one.
    periods.record_period(ledger.writer, PERIOD)
    cuts.judge(ledger.writer)
    ledger.send(ACK, NOON_MS + 2 * HOUR_MS)
    read_truly(ledger)


def read_truly(ledger: TrueLedger) -> None:
    """Stripe says what it was sent."""
    ledger.read("tokens", hours((0, 9), (1, 100)), NOON_MS + 5 * HOUR_MS)
    ledger.read("seconds", hours((0, 150)), NOON_MS + 5 * HOUR_MS)
