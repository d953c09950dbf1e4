"""Kill -9 of every part in mid-stream, all in one run: nothing is lost or doubled on the topic, in the ledger or in Stripe's books.

The three are counted apart, since a loss in one may be masked by a double in another.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from devstack.street import Street
from services.reconciler.app.reconcile_now import reconcile_now
from tests.makers.kill_street import EVENT_AGE_MS, Feeder, Oracle, customers, hurt, make_street, slow_answers, until
from tests.makers.room_process import bearer
from tests.makers.street_watch import Caught, Watch, calling, capturing, deciding, lies_unread, reading, sinking
from trueup.contracts.errors import Transient

EVENTS_PER_SECOND = 1_500
FIRST_AMONG_CALLS = "stripe-sink-1"
VICTIMS: Mapping[str, Caught] = {
    "dedupe-1": deciding("dedupe-1"),
    "kafka": deciding(),
    "dedupe-2": deciding("dedupe-2"),
    "stripe-sink-1": calling("stripe-sink-1"),
    "stripe-emulator": calling(),
    "reconciler": reading,
    "postgres": capturing,
    "stripe-sink-2": sinking("stripe-sink-2"),
}
# No billing period ends while this lasts: there is no final invoice to compare.
EMPTY_BY_NATURE = {"lines_equal_ledger"}
# They read no topic: what they are in the middle of is a request that nobody will answer.
DOORS = ("ingest", "usage-view")


@pytest.mark.timeout(900)
def test_kill_each_part_in_mid_stream_counts_every_event_once(tmp_path: Path) -> None:
    """Each part is killed once while its own input is unread and something is open; afterwards everything is there once."""
    with make_street(tmp_path / "street") as street:
        watch = Watch(street)
        with Feeder(street, EVENTS_PER_SECOND) as feeder:
            at_the_door = _kill_the_doors(street)
            for victim, caught in VICTIMS.items():
                if victim == FIRST_AMONG_CALLS:
                    _wait_for_first_calls(street.owner_settings.postgres_dsn)
                    slow_answers(street, 0.3)
                seen = hurt(street, watch, victim, caught)
                print(f"killed {victim} at {seen}")
                until(f"{victim} is back", lambda victim=victim: street.supervisor.status_of(victim).healthy, 120)  # type: ignore[misc]
            slow_answers(street, 0.0)
        oracle = feeder.oracle
        oracle.events |= at_the_door
        oracle.deliveries += len(at_the_door)
        print(f"{oracle.deliveries} deliveries of {len(oracle.events)} events")
        dsn = street.owner_settings.postgres_dsn
        until("all is captured and acknowledged", lambda: _settled(dsn, oracle), 300)

        on_topic = watch.on_time_ids()
        assert {id for id, times in on_topic.items() if times > 1} == set(), "doubled on usage.on_time.v1"
        assert set(oracle.events) - set(on_topic) == set(), "lost before usage.on_time.v1"
        assert set(on_topic) - set(oracle.events) == set()
        _assert_ledger(dsn, oracle)
        assert watch.books() == oracle.totals(), "Stripe's books"
        assert _on_the_pages(street) == oracle.totals(), "what customers are shown"
        _assert_proven(street)
        restarted = {status.name: status.restarts for status in street.status()}
        assert all(restarted[victim] >= 1 for victim in (*VICTIMS, *DOORS)), restarted


def _kill_the_doors(street: Street) -> dict[str, tuple[str, str, int]]:
    """Both are killed over a request each; sent again, it is answered. Gives the events that the door took the second time."""
    said = street.describe()
    told = {f"door-{number}": (f"customer-{number}", "input_tokens", 100 + number) for number in range(20)}
    time_ms = int(time.time() * 1000) - EVENT_AGE_MS  # the street under test lives by this very clock
    stamp = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()
    body = [
        {"id": id, "source": "feeder", "customer": customer, "meter": meter, "value": quantity, "time": stamp}
        for id, (customer, meter, quantity) in told.items()
    ]
    asked: Mapping[str, Callable[[], requests.Response]] = {
        "ingest": lambda: requests.post(f"{said['ingest_url']}/v1/events", json=body, headers=bearer(said["ingest_api_key"]), timeout=60),
        "usage-view": lambda: _usage(said, "customer-0", "current"),
    }
    with ThreadPoolExecutor(len(DOORS)) as threads:
        for door in DOORS:
            street.kill(door, signal.SIGSTOP)
        waiting = {door: threads.submit(asked[door]) for door in DOORS}
        for door, url in (("ingest", said["ingest_url"]), ("usage-view", said["usage_url"])):
            until(f"a request lies unread at {door}", lambda url=url: lies_unread(url), 30)  # type: ignore[misc]
        for door in DOORS:
            assert not waiting[door].done(), f"{door}: no request was in flight"
            street.kill(door, signal.SIGKILL)
            print(f"killed {door} over a request")
        for door in DOORS:
            assert isinstance(waiting[door].exception(60), requests.ConnectionError)
    street.wait_ready(*DOORS)
    for door in DOORS:
        assert asked[door]().ok, door
    return told


def _usage(said: Mapping[str, Any], customer: str, period: str) -> requests.Response:
    url = f"{said['usage_url']}/v1/customers/{customer}/usage"
    return requests.get(url, params={"period": period}, headers=bearer(said["usage_api_key"]), timeout=60)


def _on_the_pages(street: Street) -> Counter[tuple[str, str]]:
    """Units per customer and meter as the usage view tells them, of both periods that a run may touch."""
    said = street.describe()
    shown: Counter[tuple[str, str]] = Counter()
    for customer in customers():
        for period in ("previous", "current"):
            answer = _usage(said, customer.name, period)
            assert answer.ok, answer.text
            for meter in answer.json()["meters"]:
                shown[customer.name, meter["meter"]] += int(meter["quantity"])
    return +shown


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


def _assert_proven(street: Street) -> None:
    """Nothing is on its way any more, so every check has an answer: `pending` would be a hiding place for whatever never comes."""
    seen: list[dict[str, str]] = []

    def proven() -> bool:
        # Stripe counts what it received a little later: read until its summaries have all of it.
        try:
            reconcile_now(street.owner_settings)
        except Transient:
            return False
        with psycopg.connect(street.owner_settings.postgres_dsn, autocommit=True) as ledger:
            seen.append(dict(ledger.execute("select check_name, status from finance.proof").fetchall()))
        # A violation of a moment is one as well.
        assert "violated" not in seen[-1].values(), seen[-1]
        return all(status == ("empty" if name in EMPTY_BY_NATURE else "ok") for name, status in seen[-1].items())

    try:
        until("every check is ok", proven, 120)
    finally:
        print(f"the proof at last: {seen[-1:]}")
