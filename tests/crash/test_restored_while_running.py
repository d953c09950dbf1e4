"""A copy of the ledger's files is put back under sinks that run on: they capture again what is missing, and send nothing twice.

Nor do they remember what only the lost files held: the numbers of customers who came after the copy are others' in the one put back.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from devstack.street import Street
from tests.makers.kill_street import Feeder, Oracle, make_street, until
from tests.makers.street_watch import Watch

EVENTS_PER_SECOND = 200
EVENTS = 3 * EVENTS_PER_SECOND
BEFORE_THE_COPY, AFTER_THE_COPY, AFTER_THE_RESTORE = range(14), range(14, 28), range(28, 40)


@pytest.mark.timeout(600)
def test_a_copy_put_back_under_running_sinks_is_disarmed_before_anything_is_sent(tmp_path: Path) -> None:
    """What was sent after the copy was made would else be cut and sent once more, under other identifiers."""
    with make_street(tmp_path / "street") as street:
        watch = Watch(street)
        before = _fed(street, 1, BEFORE_THE_COPY)
        _at_rest(street, lambda ledger: _copy(ledger, tmp_path / "copy"))
        after = _fed(street, 2, AFTER_THE_COPY)
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
        assert _under_a_strange_number(street) == 0

        with _feeding(street, 3, AFTER_THE_RESTORE) as feeder:
            _feed(feeder)
        until("new customers are captured", lambda: _captured(street) == everything + len(feeder.oracle.events), 120)
        assert _under_a_strange_number(street) == 0
        assert _subjects(street) == before.totals().keys() | after.totals().keys() | feeder.oracle.totals().keys()
        assert watch.books() == before.totals() + after.totals()
        assert [status.pid for status in street.status() if status.name.startswith("stripe-sink")] == senders, "the same processes"


def _feeding(street: Street, seed: int, customer_numbers: range) -> Feeder:
    return Feeder(street, EVENTS_PER_SECOND, seed, prefix=f"fed-{seed}-", customer_numbers=customer_numbers)


def _feed(feeder: Feeder) -> None:
    until("enough is published", lambda: len(feeder.oracle.events) >= EVENTS, 60)


def _fed(street: Street, seed: int, customer_numbers: range) -> Oracle:
    """Some hundred events under ids of their own, all the way to Stripe."""
    watch = Watch(street)
    sent_before = sum(watch.books().values())
    with _feeding(street, seed, customer_numbers) as feeder:
        _feed(feeder)
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


def _under_a_strange_number(street: Street) -> int:
    """Events that count for nobody, or for another customer or meter than their own."""
    return _number(
        street,
        """select count(*) from ledger.event e left join ledger.subject s using (subject_id)
        where (e.customer, e.meter) is distinct from (s.customer, s.meter)""",
    )


def _subjects(street: Street) -> set[tuple[str, str]]:
    with psycopg.connect(street.owner_settings.postgres_dsn, autocommit=True) as ledger:
        return {(str(customer), str(meter)) for customer, meter in ledger.execute("select customer, meter from ledger.subject").fetchall()}


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
