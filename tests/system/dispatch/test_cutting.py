"""Which postings an intent covers: all of them, once, whoever cuts and whenever it is cut off."""

from __future__ import annotations

import psycopg

from services.stripe_sink.app.dispatch_cutter import Cutter
from services.stripe_sink.metrics import dispatch as metrics
from tests.makers.dispatch_world import MINUTE_MS, ROLL_UP_MS, DispatchWorld, wait_for, wait_idle
from trueup.ledger.store import customers, plans
from trueup.ledger.store.dispatch import cuts
from trueup.ledger.store.session import Connection, Session
from trueup.runtime.metrics import Registry

INTENTS = "select quantity, events from ledger.intent order by intent_id"


def make_cutter(world: DispatchWorld) -> Cutter:
    """A cutter without threads."""
    session = Session(world.database.writer_dsn, "test", index_only=True)
    return Cutter(session, "test", Registry(*metrics.ALL))


def test_stragglers_go_out_together_once_per_roll_up(world: DispatchWorld) -> None:
    """What is recorded for a segment already cut waits for the end of the roll-up it came in."""
    segment_ms = world.now_ms
    world.use("acme", "tokens", 1)
    with world.dispatching() as dispatch:
        world.pass_segment()
        wait_idle(dispatch)
        for quantity in (10, 100):
            world.use("acme", "tokens", quantity, at_ms=segment_ms + quantity)
            world.advance(MINUTE_MS)
            wait_idle(dispatch)
        assert world.rows(INTENTS) == [(1, 1)]
        due = dispatch.activity().next_due_ms
        assert due is not None and due % ROLL_UP_MS == MINUTE_MS and due - world.now_ms <= ROLL_UP_MS
        world.set_now(due)
        wait_idle(dispatch)
        assert world.rows(INTENTS) == [(1, 1), (110, 2)]
        assert dispatch.activity().next_due_ms is None
    assert world.books("acme", "tokens") == (2, "111")


def test_nothing_is_due_at_the_instant_it_is_recorded(world: DispatchWorld) -> None:
    """Else a burst captured in two transactions could be cut between them, and two runs of one month would differ."""
    world.set_now((world.now_ms // ROLL_UP_MS + 3) * ROLL_UP_MS + MINUTE_MS)
    world.use("acme", "tokens", 1, at_ms=world.now_ms - 2 * ROLL_UP_MS)
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert world.rows(INTENTS) == []
        assert dispatch.activity().next_due_ms == world.now_ms + ROLL_UP_MS


def test_usage_of_an_unmapped_customer_waits_and_goes_out_when_mapped(world: DispatchWorld) -> None:
    """Usage may come before the customer: it stays unsent, holds nobody up, and is judged anew on mapping."""
    world.use("later", "tokens", 5)
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert dispatch.activity().next_due_ms is None
        assert world.rows("select waits_for from ops.uncovered_segment") == [("unmapped",)]
        assert world.account("unsent") == 5
        world.map("later")
        wait_idle(dispatch)
    assert world.books("later", "tokens") == (1, "5")


def test_usage_that_waited_is_waived_once_its_customer_is_never_billed(world: DispatchWorld) -> None:
    """Said while the sink runs: it is busy until all is moved, then nothing is left that waits, or that has a date."""
    for _ in range(3):
        world.use("tester", "tokens", 5)
        world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert world.account("unsent") == 15
        assert customers.never_bill(world.ledger, "tester", reason="our own", recorded_by="test")
        wait_idle(dispatch)
        assert (world.account("unsent"), world.account("waived")) == (0, 15)
        assert world.rows("select count(*) from ops.uncovered_segment") == [(0,)]
        assert dispatch.activity().next_due_ms is None
    assert world.rows(INTENTS) == []


def test_id_of_a_stripe_customer_stands_for_itself(world: DispatchWorld) -> None:
    """`cus_…` needs no mapping."""
    own = world.stripe_customer("self")
    world.emulator.tell("customers", {"id": own, "name": "self"})
    world.use(own, "tokens", 5)
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
    assert world.books("self", "tokens") == (1, "5")


def test_id_of_a_stripe_customer_that_was_given_to_another_waits(world: DispatchWorld) -> None:
    """One Stripe customer belongs to one of ours: the usage of two must never be billed to it."""
    world.use(world.stripe_customer("acme"), "tokens", 5)
    world.pass_segment()
    with world.dispatching() as dispatch:
        wait_idle(dispatch)
        assert world.rows("select waits_for from ops.uncovered_segment") == [("unmapped",)]
    assert world.account("unsent") == 5


def test_newest_mapping_decides_where_usage_goes(world: DispatchWorld) -> None:
    """A customer may move to another Stripe customer; what was sent before stays where it is."""
    world.use("acme", "tokens", 5)
    with world.dispatching() as dispatch:
        world.pass_segment()
        wait_idle(dispatch)
        world.use("acme", "tokens", 7)
        wait_idle(dispatch)
        world.emulator.tell("customers", {"id": world.stripe_customer("moved"), "name": "moved"})
        customers.map_customer(world.ledger, "acme", world.stripe_customer("moved"), reason="merger", recorded_by="test")
        world.pass_segment()
        wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "5")
    assert world.books("moved", "tokens") == (1, "7")


def test_plan_scoped_meter_goes_to_the_meter_of_the_plan_in_force(world: DispatchWorld) -> None:
    """The plan at the segment's start decides; without a known plan it waits."""
    world.apply("tokens", plans={"runs": ("basic", "pro")})
    world.use("acme", "runs", 1)
    change_ms = (world.now_ms // ROLL_UP_MS + 1) * ROLL_UP_MS
    with world.dispatching() as dispatch:
        world.pass_segment()
        wait_idle(dispatch)
        assert world.rows("select waits_for from ops.uncovered_segment") == [("no_plan",)]
        plans.record(world.ledger, plans.PlanFact("acme", "basic", 0, "sub_1"))
        plans.record(world.ledger, plans.PlanFact("acme", "pro", change_ms, "sub_1"))
        world.use("acme", "runs", 10)
        world.pass_segment()
        wait_idle(dispatch)
    assert world.books("acme", "runs-basic") == (1, "1")
    assert world.books("acme", "runs-pro") == (1, "10")


def test_cutter_killed_between_cut_and_intents_loses_nothing(world: DispatchWorld) -> None:
    """A cut alone moves nothing; the next cutter finds what no intent covers."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    cuts.cut(world.ledger)
    world.use("acme", "tokens", 7, at_ms=world.now_ms - 2 * MINUTE_MS)
    cuts.discover(world.ledger, cuts.cut(world.ledger))
    assert make_cutter(world).step() == 1
    assert world.rows(INTENTS) == [(12, 2)]


def test_coverage_read_under_an_older_cut_is_not_written(world: DispatchWorld) -> None:
    """A cutter that slept between reading and writing finds that another looked further, and leaves it to the next round."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    cuts.discover(world.ledger, cuts.cut(world.ledger))
    cuts.judge(world.ledger)
    slept = cuts.coverages(world.ledger, 10)
    assert [item.quantity for item in slept] == [5]
    world.use("acme", "tokens", 7, at_ms=world.now_ms - 2 * MINUTE_MS)
    cuts.discover(world.ledger, cuts.cut(world.ledger))
    assert cuts.make_intents(world.ledger, [], slept, "asleep") == 0
    assert make_cutter(world).step() == 1
    assert world.rows(INTENTS) == [(12, 2)]


def test_what_becomes_due_in_mid_round_is_cut_whole_in_the_next(world: DispatchWorld) -> None:
    """Else usage behind the last cut would go out in a second part, whenever the date moved between two statements of a cutter."""
    world.use("acme", "tokens", 5)
    cuts.discover(world.ledger, cuts.cut(world.ledger))
    world.use("acme", "tokens", 7)

    class Overtaken(Cutter):
        """A cutter during whose round the date moves."""

        def _cut(self, connection: Connection, state: cuts.State) -> None:
            world.pass_segment()

    session = Session(world.database.writer_dsn, "test", index_only=True)
    assert Overtaken(session, "test", Registry(*metrics.ALL)).step() == 0
    assert make_cutter(world).step() == 1
    assert world.rows(INTENTS) == [(12, 2)]


def test_working_tables_of_the_cutter_can_be_rebuilt(world: DispatchWorld) -> None:
    """Emptied and begun anew they find just what is uncovered: nothing is cut twice, nothing is left."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    cutter = make_cutter(world)
    assert cutter.step() == 1
    world.use("acme", "tokens", 7)
    world.ledger.execute("delete from ops.uncovered_segment")
    world.ledger.execute("update ops.dispatch_progress set discovered_through = 0, judged_by = ''")
    world.pass_segment()
    assert make_cutter(world).step() == 1
    assert world.rows(INTENTS) == [(5, 1), (7, 1)]
    assert world.rows("select count(*) from ops.uncovered_segment") == [(0,)]


def test_cut_waits_two_seconds_for_a_writer_and_gives_way(world: DispatchWorld) -> None:
    """Who captures comes first: a cut that gets no barrier is tried again later."""
    world.use("acme", "tokens", 5)
    world.pass_segment()
    with psycopg.connect(world.database.writer_dsn) as writer:
        writer.execute("select pg_advisory_xact_lock_shared(7305101)")
        with world.dispatching() as dispatch:
            wait_for(lambda: b'dispatch_failures_total{thread="cut"}' in world.registries[0].render())
            assert world.rows("select count(*) from ledger.cut") == [(0,)]
            writer.rollback()
            wait_idle(dispatch)
    assert world.books("acme", "tokens") == (1, "5")


def test_intent_that_nobody_took_up_yet_is_work(world: DispatchWorld) -> None:
    """The street's clock must not move on before it was sent."""
    dispatch = world.make_dispatch()
    world.use("acme", "tokens", 5)
    world.pass_segment()
    assert make_cutter(world).step() == 1
    assert dispatch.activity().why == "1 intents to send"
    assert not dispatch.activity().idle
