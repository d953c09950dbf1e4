"""Who holds the barrier too long, given who was seen holding it when."""

from trueup.ledger.store.barrier import Holder, Watch

FIRST, NEXT, OTHER = Holder(7, "3/12"), Holder(7, "3/13"), Holder(8, "4/1")


def test_holder_is_overdue_after_ten_seconds_of_the_same_transaction():
    """Held in every look for more than ten seconds: overdue; not a moment before."""
    watch = Watch()
    assert watch.overdue([FIRST], 100.0) == []
    assert watch.overdue([FIRST, OTHER], 110.0) == []
    assert watch.overdue([FIRST, OTHER], 110.5) == [FIRST]


def test_next_transaction_of_the_same_connection_starts_anew():
    """A busy writer holds the barrier most of the time, each time a new transaction: it is never overdue."""
    watch = Watch()
    for second in range(100):
        assert watch.overdue([Holder(7, f"3/{second // 5}")], float(second)) == []


def test_holder_that_let_go_is_forgotten():
    """What was not seen for one look begins again."""
    watch = Watch()
    watch.overdue([FIRST], 0.0)
    watch.overdue([NEXT], 5.0)
    assert watch.overdue([FIRST], 12.0) == []
    assert watch.overdue([FIRST], 22.5) == [FIRST]
