"""Customers who are never billed: who may be one, and where their usage goes that came before, between and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from devstack.process import wait_until
from services.stripe_sink.app.dispatch_cutter import Cutter
from services.stripe_sink.metrics import dispatch as metrics
from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import ACK, HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, true_ledger
from trueup.cli.__main__ import run
from trueup.ledger.store import customers, flush, journey, proof
from trueup.ledger.store.connection import connect
from trueup.ledger.store.customers import RefusedMapping, RefusedNeverBilling
from trueup.ledger.store.dispatch import arming, cuts
from trueup.ledger.store.session import Session
from trueup.runtime.metrics import Registry

WHO = {"reason": "our own tests", "recorded_by": "test"}
STANDING = """
select a.name, sum(l.quantity), sum(l.events)
from ledger.posting p
join ledger.subject s using (subject_id)
cross join lateral (
    values (p.to_account, p.quantity, p.events), (p.from_account, -p.quantity, -p.events)
) as l (account_id, quantity, events)
join ledger.account a using (account_id)
where s.customer = %s and a.name <> 'usage'
group by a.name
having sum(l.events) <> 0
order by a.name
"""


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Armed, with one mapped customer; whatever a test did, the proof holds."""
    with true_ledger(database) as made:
        made.map("acme")
        made.arm()
        yield made
        faults = {check.check_name: check.violations for check in proof.prove(made.writer, deep=True).checks if check.violations}
        assert faults == {}


def _use(ledger: TrueLedger, customer: str, quantity: int, *, late: bool = False, unaware: bool = False) -> str:
    """One event, captured by a room that knows who is never billed, or that had looked before it was said. Gives its id."""
    begin = ledger.positions[0]["on_time"] + ledger.positions[0]["late"] if ledger.positions else 0
    progress_offset = ledger.positions[0]["progress"] if ledger.positions else 0
    event_id = f"e{begin}"
    reason = "ran twice" if quantity < 0 else None
    record = make_forwarded(begin, make_event(event_id, customer=customer, quantity=quantity, reason=reason))
    given = {"late": [record]} if late else {"on_time": [record]}
    ledger.capture(make_announced(first_offset=begin, progress_offset=progress_offset, **given), unaware=unaware)
    return event_id


def _sweep(ledger: TrueLedger, now_ms: int) -> None:
    """The cutter's own rounds, until there is nothing to do."""
    ledger.set_now(now_ms)
    session = Session(ledger.database.writer_dsn, "test", index_only=True)
    cutter = Cutter(session, "sink", Registry(*metrics.ALL))
    for _ in range(3):
        cutter.step()
    session.close()


def _steps(ledger: TrueLedger, event_id: str) -> list[str]:
    return [f"{step.step}: {step.detail}" for step in journey.explain(ledger.writer, "inference", event_id)]


def test_usage_before_between_and_after_is_waived(ledger: TrueLedger) -> None:
    """What waits is moved by the cutter, what a room captured without knowing too, and what comes later never waits."""
    before = _use(ledger, "tester", 5)
    _use(ledger, "tester", -2)
    _use(ledger, "acme", 7)
    _sweep(ledger, NOON_MS + 10 * MINUTE_MS)
    assert ledger.rows(STANDING, "tester") == [("unsent", 3, 2)]
    assert ledger.rows("select state, sum(quantity) from finance.unbilled_usage where customer_id = 'tester' group by 1") == [
        ("unmapped", 3)
    ]
    assert cuts.state(ledger.writer).judged
    assert customers.never_bill(ledger.writer, "tester", **WHO)
    # Said, and not moved yet: it waits for no mapping any more, and no date of it is shown to anybody.
    assert ledger.rows("select state, sum(quantity) from finance.unbilled_usage where customer_id = 'tester' group by 1") == [("unsent", 3)]
    assert not cuts.state(ledger.writer).judged
    cuts.judge(ledger.writer)
    assert cuts.state(ledger.writer).to_waive
    assert {item.state: item.items for item in arming.outbox(ledger.writer)}.get("unsent", 0) == 0
    between = _use(ledger, "tester", 11, unaware=True)
    after = _use(ledger, "tester", 13)
    _use(ledger, "tester", 17, late=True)
    assert ledger.rows(STANDING, "tester") == [("unsent", 14, 3), ("waived", 30, 2)]
    _sweep(ledger, NOON_MS + 20 * MINUTE_MS)
    assert ledger.rows(STANDING, "tester") == [("waived", 44, 5)]
    assert not cuts.state(ledger.writer).to_waive and ledger.rows("select count(*) from ops.uncovered_segment") == [(0,)]
    assert ledger.rows("select count(*) from finance.unbilled_usage where customer_id = 'tester'") == [(0,)]
    assert ledger.rows("select sum(quantity_smallest) from finance.usage_by_customer_day where customer_id = 'tester'") == [(44,)]
    assert ledger.rows("select waived_quantity, closing_quantity from finance.roll_forward where waived_quantity <> 0") == [(44, 7)]
    assert any(step.startswith("waived: unsent to waived (never_billed)") for step in _steps(ledger, before))
    assert any(step.startswith("waived: ") for step in _steps(ledger, between))
    assert [step.partition(";")[0] for step in _steps(ledger, after) if "waived" in step] == ["posted: usage to waived (never_billed)"]
    assert len(ledger.send(ACK, NOON_MS + HOUR_MS)) == 1
    assert ledger.rows(STANDING, "acme") == [("acknowledged", 7, 1)]
    ledger.read("tokens", {NOON_MS: 7}, NOON_MS + 4 * HOUR_MS)


def test_what_came_late_before_it_was_said_stays_with_a_person(ledger: TrueLedger) -> None:
    """It waits for a decision, not for a mapping; the sweep takes only what would go out by itself."""
    _use(ledger, "tester", 5, late=True)
    customers.never_bill(ledger.writer, "tester", **WHO)
    _sweep(ledger, NOON_MS + 20 * MINUTE_MS)
    assert ledger.rows(STANDING, "tester") == [("in_review", 5, 1)]


def _find_and_waive(ledger: TrueLedger, most: int, rounds: int) -> list[int]:
    """What the cutter does, with so many postings at once; gives the segments of each round."""
    cuts.discover(ledger.writer, cuts.cut(ledger.writer))
    cuts.judge(ledger.writer)
    return [cuts.waive(ledger.writer, "sink", most) for _ in range(rounds)]


def test_sums_beyond_64_bits_are_waived_too(ledger: TrueLedger) -> None:
    """Posting by posting: no sum has to fit. Of a batch that needed two postings both are moved at once."""
    largest = 10**15 - 1
    records = [make_forwarded(offset, make_event(f"e{offset}", customer="tester", quantity=largest)) for offset in range(9_300)]
    ledger.capture(make_announced(on_time=records))
    customers.never_bill(ledger.writer, "tester", **WHO)
    assert _find_and_waive(ledger, most=1, rounds=1) == [1]
    assert ledger.rows("select count(*) from ledger.posting where to_account = 10") == [(2,)]
    assert ledger.rows(STANDING, "tester") == [("waived", 9_300 * largest, 9_300)]


def test_what_is_too_much_at_once_is_waived_in_parts(ledger: TrueLedger) -> None:
    """Nobody holds the barrier for long: a segment is left in its middle, and gone on with where it was left."""
    for customer in ("tester", "tester", "tester", "trial"):
        _use(ledger, customer, 5)
    for customer in ("tester", "trial"):
        customers.never_bill(ledger.writer, customer, **WHO)
    assert _find_and_waive(ledger, most=2, rounds=1) == [1]
    assert ledger.rows(STANDING, "tester") == [("unsent", 5, 1), ("waived", 10, 2)]
    _use(ledger, "tester", 7, unaware=True)
    assert _find_and_waive(ledger, most=2, rounds=3) == [1, 2, 0]
    assert [ledger.rows(STANDING, customer) for customer in ("tester", "trial")] == [[("waived", 22, 4)], [("waived", 5, 1)]]
    assert ledger.rows("select count(*) from ops.uncovered_segment") == [(0,)]


def test_a_sweep_that_was_cut_off_moves_nothing_twice(ledger: TrueLedger) -> None:
    """Rebuilding the work list, as after a restored copy, finds again what was waived and moves none of it."""
    _use(ledger, "tester", 5)
    customers.never_bill(ledger.writer, "tester", **WHO)
    _sweep(ledger, NOON_MS + 10 * MINUTE_MS)
    ledger.admin.execute("update ops.dispatch_progress set discovered_through = 0")
    _use(ledger, "tester", 3, unaware=True)
    _sweep(ledger, NOON_MS + 20 * MINUTE_MS)
    assert ledger.rows(STANDING, "tester") == [("waived", 8, 2)]


def test_mapped_customers_are_refused_and_so_is_mapping_who_is_never_billed(ledger: TrueLedger) -> None:
    """Either way the sentence says why; saying it again is no error and changes nothing."""
    writer = ledger.writer
    with pytest.raises(RefusedNeverBilling, match="acme is cus_acme at Stripe"):
        customers.never_bill(writer, "acme", **WHO)
    for customer, why in (("", "1 to 255"), ("x" * 256, "1 to 255"), ("cus_1", "stands for itself")):
        with pytest.raises(RefusedNeverBilling, match=why):
            customers.never_bill(writer, customer, **WHO)
    assert customers.never_bill(writer, "tester", **WHO)
    assert not customers.never_bill(writer, "tester", reason="another", recorded_by="somebody")
    assert [(one.customer, one.reason) for one in customers.never_billed(writer)] == [("tester", "our own tests")]
    with pytest.raises(RefusedMapping, match="tester is never billed"):
        customers.map_customer(writer, "tester", "cus_tester", **WHO)
    new, faults = customers.import_mappings(writer, [("globex", "cus_globex"), ("tester", "cus_tester")], **WHO)
    assert (new, faults) == (0, [(2, "tester is never billed, for ever: it is given no Stripe customer")])
    assert [line.customer for line in customers.timeline(writer)] == ["acme"]
    assert customers.is_known(writer, "tester")
    assert flush.state(writer, flush.request(writer, "tester", "test")).refused == "tester is never billed"


def test_of_two_at_once_one_wins(ledger: TrueLedger) -> None:
    """Who maps and who says never do not see each other's work before it is committed: a lock puts them in order."""
    for number in range(4):
        customer, start = f"c{number}", Barrier(2)

        def map_it(customer: str = customer, start: Barrier = start) -> str:
            with connect(ledger.database.writer_dsn, "map") as connection:
                start.wait(30)
                try:
                    customers.map_customer(connection, customer, f"cus_{customer}", **WHO)
                except RefusedMapping:
                    return "refused"
            return "mapped"

        def never_bill_it(customer: str = customer, start: Barrier = start) -> str:
            with connect(ledger.database.writer_dsn, "never") as connection:
                start.wait(30)
                try:
                    customers.never_bill(connection, customer, **WHO)
                except RefusedNeverBilling:
                    return "refused"
            return "never"

        with ThreadPoolExecutor(2) as both:
            said = [work.result() for work in (both.submit(map_it), both.submit(never_bill_it))]
        assert said in (["mapped", "refused"], ["refused", "never"])


def test_who_comes_second_waits_for_the_first_to_commit(ledger: TrueLedger) -> None:
    """Made certain: the first one stands inside its transaction while the second one begins."""
    dsn = ledger.database.writer_dsn
    waiting = "select count(*) from pg_stat_activity where application_name = 'second' and wait_event_type = 'Lock'"
    with connect(dsn, "first") as first, connect(dsn, "second") as second, ThreadPoolExecutor(1) as other:
        with first.transaction():
            assert customers.never_bill(first, "tester", **WHO)
            work = other.submit(customers.map_customer, second, "tester", "cus_tester", **WHO)
            assert wait_until(lambda: ledger.rows(waiting) == [(1,)], 30)
        with pytest.raises(RefusedMapping, match="never billed"):
            work.result()


def test_nobody_takes_it_back(ledger: TrueLedger) -> None:
    """For ever means the database too."""
    customers.never_bill(ledger.writer, "tester", **WHO)
    for statement in ("delete from ledger.never_billed_customer", "update ledger.waived_segment set events = 0"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ledger.writer.execute(statement.encode())
    with pytest.raises(psycopg.errors.RestrictViolation):
        ledger.admin.execute("delete from ledger.never_billed_customer")


def test_the_command(ledger: TrueLedger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Said, said again, refused, listed."""
    monkeypatch.setenv("TRUEUP_POSTGRES_DSN", ledger.database.dsn)
    told = ("--reason", "our own", "--yes", "--json")
    for new in (True, False):
        assert run(["customers", "never-bill", "tester", *told]) == 0
        assert json.loads(capsys.readouterr().out) == {"customer": "tester", "never_billed": True, "new": new}
    assert run(["customers", "never-bill", "acme", *told]) == 1
    assert "acme is cus_acme at Stripe" in capsys.readouterr().err
    assert run(["customers", "map", "tester", "cus_tester", *told]) == 1
    assert "never billed" in capsys.readouterr().err
    assert run(["customers", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["customer"], row["stripe_customer"], row["never_billed"]) for row in rows] == [
        ("acme", "cus_acme", False),
        ("tester", None, True),
    ]


def test_a_mapping_past_the_command_is_a_violation(ledger: TrueLedger) -> None:
    """Whoever writes it by hand, with its seal and all, is found by the proof."""
    customers.never_bill(ledger.writer, "tester", **WHO)
    with ledger.admin.transaction(force_rollback=True):
        ledger.admin.execute(
            "insert into ledger.customer_mapping (customer, stripe_customer, reason, recorded_by, recorded_at)"
            " values ('tester', 'cus_tester', 'x', 'x', ops.now())"
        )
        found = ledger.rows("select check_name, violations from finance.proof where violations <> 0")
    assert found == [("intent_covers_postings_once", 1)]
