"""A meter that the newest catalogue leaves out: what was decided under an older version is sent, settled or becomes a case."""

from __future__ import annotations

from tests.contract.ledger.test_shared_event_names import apply_second, ledger, use
from tests.makers.true_ledger import ACK, CATALOGUE_TOML, HOUR_MS, MINUTE_MS, NOON_MS, UNKNOWN, TrueLedger
from trueup.ledger.periods import PeriodFact
from trueup.ledger.store import periods
from trueup.ledger.store.deployment import Deployment
from trueup.ledger.store.dispatch import arming, settlements

WITHOUT = CATALOGUE_TOML.replace('[meter.seconds]\nunit = "second"\nscale = 2\nstripe_event_name = "seconds"\n', "")

__all__ = ["ledger"]


class Reader:
    """Stripe has what it acknowledged."""

    def account(self) -> Deployment:
        """The ledger's own."""
        return Deployment("acct_test", False)

    def summary_values(self, stripe_customer: str, event_name: str, start_ms: int, end_ms: int) -> tuple[float, ...]:
        """In the meter's unit."""
        return (12.34,) if (stripe_customer, event_name) == ("cus_acme", "seconds") else ()


def test_unsent_usage_is_cut_and_sent(ledger: TrueLedger) -> None:
    """With the scale, the roll-up and the event name of the last version that had the meter; arming compares in that scale."""
    use(ledger, "acme", "seconds", 1234)
    apply_second(ledger, WITHOUT)
    assert ledger.cut(NOON_MS + HOUR_MS) == 1
    ledger.send(ACK, NOON_MS + HOUR_MS)
    assert ledger.rows("select body -> 'payload' ->> 'value' from ledger.intent") == [("12.34",)]
    report = arming.arm(ledger.admin, Reader(), reason="test", by="test")
    assert (report.armed, report.differences) == (True, ())


def test_unknown_outcomes_are_settled(ledger: TrueLedger) -> None:
    """The hour is still found, and read in its meter's scale."""
    use(ledger, "acme", "seconds", 1234)
    assert ledger.cut(NOON_MS + HOUR_MS) == 1
    ledger.send(UNKNOWN, NOON_MS + HOUR_MS)
    apply_second(ledger, WITHOUT)
    ledger.set_now(NOON_MS + 22 * HOUR_MS)
    assert [(hour.stripe_event_name, hour.scale) for hour in settlements.hours(ledger.writer)] == [("seconds", 2)]


def test_its_deadline_still_makes_a_case_of_it(ledger: TrueLedger) -> None:
    """Periods of its event name are still asked for."""
    use(ledger, "acme", "seconds", 1234)
    apply_second(ledger, WITHOUT)
    end_ms = NOON_MS + HOUR_MS
    fact = PeriodFact("si_1", "sub_1", "cus_acme", "price_1", "seconds", "basic", "usd", NOON_MS - HOUR_MS, end_ms)
    assert periods.record_period(ledger.writer, fact)
    calendar = periods.calendars(ledger.writer, {("acme", "seconds")})[("acme", "seconds")]
    assert calendar.deadline_ms(NOON_MS) == end_ms + 24 * HOUR_MS - 10 * MINUTE_MS
    assert ledger.cut(end_ms + 24 * HOUR_MS) == 1
    assert ledger.rows("select class from ledger.outcome") == [("expired",)]


def test_finance_still_sees_its_period(ledger: TrueLedger) -> None:
    """What is open of it has a period, and so has what is moved from month to month."""
    use(ledger, "acme", "seconds", 1234)
    end_ms = NOON_MS + HOUR_MS
    periods.record_period(
        ledger.writer, PeriodFact("si_1", "sub_1", "cus_acme", "price_1", "seconds", "basic", "usd", NOON_MS - HOUR_MS, end_ms)
    )
    apply_second(ledger, WITHOUT)
    assert ledger.rows("select state, subscription_item_id from finance.unbilled_usage where meter = 'seconds'") == [("unsent", "si_1")]
    assert ledger.rows("select subscription_item_id from derived.subject_period where meter = 'seconds'") == [("si_1",)]
