"""A copy of the ledger's files is put back under sinks that run on: they capture again what is missing, and send nothing twice."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from devstack.street import Street
from tests.makers.kill_street import Feeder, Oracle, Watch, make_street, until

EVENTS_PER_SECOND = 200


@pytest.mark.timeout(600)
def test_a_copy_put_back_under_running_sinks_is_disarmed_before_anything_is_sent(tmp_path: Path) -> None:
    """What was sent after the copy was made would else be cut and sent once more, under other identifiers."""
    with make_street(tmp_path / "street") as street:
        watch = Watch(street)
        before = _fed(street, seed=1)
        _at_rest(street, lambda ledger: _copy(ledger, tmp_path / "copy"))
        after = _fed(street, seed=2)
        assert watch.books() == before.totals() + after.totals()
        senders = [status.pid for status in street.status() if status.name.startswith("stripe-sink")]

        _at_rest(street, lambda ledger: (ledger.rename(tmp_path / "lost"), _copy(tmp_path / "copy", ledger)))
        until("the copy is disarmed", lambda: "restored from a copy" in _newest_act(street), 120)
        everything = len(before.events) + len(after.events)
        until("what the copy lacks is captured again", lambda: _captured(street) == everything, 120)
        # Every minute of it was due when it was captured: an armed sink would have sent it by now.
        until("the cutter has looked at all of it", lambda: _cut_through_everything(street), 60)
        assert _unsent(street) == sum(after.totals().values())
        assert watch.books() == before.totals() + after.totals()
        assert [status.pid for status in street.status() if status.name.startswith("stripe-sink")] == senders, "the same processes"


def _fed(street: Street, seed: int) -> Oracle:
    """Some seconds of events under ids of their own, all the way to Stripe."""
    watch = Watch(street)
    sent_before = sum(watch.books().values())
    with Feeder(street, EVENTS_PER_SECOND, seed, prefix=f"fed-{seed}-") as feeder:
        time.sleep(3)
    total = sum(feeder.oracle.totals().values())
    until("all is with Stripe", lambda: sum(watch.books().values()) == sent_before + total, 240)
    until("and acknowledged", lambda: _number(street, "select count(*) from ops.open_intent") == 0, 60)
    return feeder.oracle


def _at_rest(street: Street, work: Callable[[Path], object]) -> None:
    """Does something to the data folder of a server that is down; the rooms meet a refused connection meanwhile."""
    street.supervisor.stop("postgres")
    work(street.data / "postgres")
    street.supervisor.start_again("postgres")
    until("postgres is back", lambda: street.supervisor.status_of("postgres").healthy, 60)


def _copy(source: Path, target: Path) -> None:
    """With its owners, whom the server insists on."""
    subprocess.run(("cp", "-a", str(source), str(target)), check=True)


def _newest_act(street: Street) -> str:
    with psycopg.connect(street.owner_settings.postgres_dsn, autocommit=True) as ledger:
        row = ledger.execute("select action || ': ' || reason from ledger.arming order by arming_id desc limit 1").fetchone()
    return str(row[0]) if row else ""


def _captured(street: Street) -> int:
    return _number(street, "select count(*) from ledger.event")


def _unsent(street: Street) -> int:
    return _number(
        street,
        "select sum(case when to_account = 2 then quantity else -quantity end) from ledger.posting where 2 in (from_account, to_account)",
    )


def _cut_through_everything(street: Street) -> bool:
    return (
        _number(
            street,
            """select count(*) from ops.dispatch_progress g
            where g.discovered_through >= (select max(batch_id) from ledger.posting where to_account = 2)""",
        )
        == 1
    )


def _number(street: Street, query: str) -> int:
    with psycopg.connect(street.owner_settings.postgres_dsn, autocommit=True) as ledger:
        row = ledger.execute(query).fetchone()
    assert row is not None
    return int(row[0])
