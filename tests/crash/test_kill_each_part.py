"""Kill -9 of every part in mid-stream, all in one run: nothing is lost or doubled on the topic, in the ledger or in Stripe's books.

The three are counted apart, since a loss in one may be masked by a double in another.
"""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from tests.makers.kill_street import Feeder, Oracle, Watch, hurt, make_street, slow_answers, until

EVENTS_PER_SECOND = 1_500
AMONG_CALLS = ("stripe-sink-1", "stripe-emulator")
VICTIMS = ("dedupe-1", "kafka", "dedupe-2", *AMONG_CALLS, "reconciler", "postgres", "stripe-sink-2")


@pytest.mark.timeout(900)
def test_kill_each_part_in_mid_stream_counts_every_event_once(tmp_path: Path) -> None:
    """Each part is killed once while input is unread and a transaction or a call is open; afterwards everything is there once."""
    with make_street(tmp_path / "street") as street:
        watch = Watch(street)
        with Feeder(street, EVENTS_PER_SECOND) as feeder:
            for victim in VICTIMS:
                if victim == AMONG_CALLS[0]:
                    _wait_for_first_calls(street.owner_settings.postgres_dsn)
                    slow_answers(street, 0.3)
                seen = hurt(street, watch, victim, calling=victim in AMONG_CALLS)
                print(f"killed {victim} at {seen}")
                until(f"{victim} is back", lambda victim=victim: street.supervisor.status_of(victim).healthy, 120)  # type: ignore[misc]
                if victim == AMONG_CALLS[-1]:
                    slow_answers(street, 0.0)
        oracle = feeder.oracle
        print(f"{oracle.deliveries} deliveries of {len(oracle.events)} events")
        dsn = street.owner_settings.postgres_dsn
        until("all is captured and acknowledged", lambda: _settled(dsn, oracle), 300)

        on_topic = watch.on_time_ids()
        assert {id for id, times in on_topic.items() if times > 1} == set(), "doubled on usage.on_time.v1"
        assert set(oracle.events) - set(on_topic) == set(), "lost before usage.on_time.v1"
        assert set(on_topic) - set(oracle.events) == set()
        _assert_ledger(dsn, oracle)
        assert watch.books() == oracle.totals(), "Stripe's books"
        _assert_proven(dsn)
        restarted = {status.name: status.restarts for status in street.status()}
        assert all(restarted[victim] >= 1 for victim in VICTIMS), restarted


def _wait_for_first_calls(dsn: str) -> None:
    """From then on there are calls to hit."""
    began = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as ledger:
        until("the first calls to Stripe", lambda: ledger.execute("select 1 from ledger.attempt limit 1").fetchone() is not None, 200)
    print(f"first calls after {time.monotonic() - began:.0f} s")


def _settled(dsn: str, oracle: Oracle) -> bool:
    with psycopg.connect(dsn, autocommit=True) as ledger:
        row = ledger.execute(
            "select (select count(*) from ledger.event), (select coalesce(sum(p.quantity), 0) from ledger.posting p where p.to_account = 4)"
        ).fetchone()
    return row is not None and row[0] >= len(oracle.events) and int(row[1]) >= sum(quantity for _, _, quantity in oracle.events.values())


def _assert_ledger(dsn: str, oracle: Oracle) -> None:
    with psycopg.connect(dsn, autocommit=True) as ledger:
        rows = ledger.execute("select id, customer, meter, quantity from ledger.event").fetchall()
        assert {row[0]: (row[1], row[2], row[3]) for row in rows} == oracle.events
        assert len(rows) == len(oracle.events), "one row per identity"
        duplicates = ledger.execute(
            "select (select sum(duplicate_events) from ledger.source_batch) + (select count(*) from ledger.duplicate)"
        ).fetchone()
        assert duplicates is not None and int(duplicates[0]) == oracle.deliveries - len(oracle.events), (
            "every second delivery is accounted for"
        )
        accounts = ledger.execute(
            """
            select a.name, sum(case when p.to_account = a.account_id then p.quantity else -p.quantity end)
            from ledger.posting p join ledger.account a on a.account_id in (p.from_account, p.to_account) group by 1
            """
        ).fetchall()
    held = {name: int(quantity) for name, quantity in accounts}
    total = sum(quantity for _, _, quantity in oracle.events.values())
    assert held == {"usage": -total, "unsent": 0, "in_flight": 0, "acknowledged": total}


def _assert_proven(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as ledger:
        rows = ledger.execute("select check_name, status, violations from finance.proof").fetchall()
    bad = [row for row in rows if row[1] == "violated"]
    assert rows and not bad, bad
