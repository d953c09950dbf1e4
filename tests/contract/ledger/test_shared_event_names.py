"""Two meters of ours on one name of Stripe's: each has identifiers of its own, and nobody else's usage waits for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.true_ledger import ACK, CATALOGUE_TOML, HOUR_MS, MINUTE_MS, NOON_MS, TrueLedger, true_ledger
from trueup.contracts.catalogue import FROM_THE_BEGINNING_MS, CatalogueVersion, Timeline, parse
from trueup.ledger.store import catalogue, proof


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    """Armed, with two mapped customers."""
    with true_ledger(database) as made:
        for customer in ("acme", "globex"):
            made.map(customer)
        made.arm()
        yield made
        checks = {check.check_name: check for check in proof.prove(made.writer, deep=True).checks}
        # What Stripe was read to say is another test's matter.
        assert [name for name, check in checks.items() if check.violations and name != "hours_equal_summaries"] == []


def apply_second(ledger: TrueLedger, text: str, appended_at_ms: int = NOON_MS) -> None:
    """Put a second catalogue version in force, a minute after it was appended."""
    ledger.timeline = Timeline.from_appended([(1, FROM_THE_BEGINNING_MS, parse(CATALOGUE_TOML)), (2, appended_at_ms, parse(text))])
    catalogue.record_version(ledger.writer, CatalogueVersion(2, text, "test"), appended_at_ms, ledger.timeline.versions[1])


def use(ledger: TrueLedger, customer: str, meter: str, quantity: int) -> None:
    """One event of the segment that begins at noon."""
    offset = ledger.positions[0]["on_time"] if ledger.positions else 0
    event = make_event(f"e{offset}", customer=customer, meter=meter, quantity=quantity)
    record = make_forwarded(offset, event, arrival_ms=NOON_MS + 2 * MINUTE_MS)
    ledger.capture(make_announced(first_offset=offset, on_time=[record], progress_offset=offset, version=len(ledger.timeline.versions)))


def sent(ledger: TrueLedger) -> list[tuple[object, ...]]:
    """What Stripe acknowledged: event name, Stripe customer, quantity."""
    ledger.send(ACK, NOON_MS + HOUR_MS)
    return ledger.rows(
        """select l.stripe_event_name, l.stripe_customer, i.quantity from ledger.intent i join ledger.lane l using (lane_id)
           join ledger.outcome o on o.intent_id = i.intent_id and o.class = 'ack' order by i.intent_id"""
    )


def test_a_new_meter_on_a_name_that_another_had_has_identifiers_of_its_own(ledger: TrueLedger) -> None:
    """Two meters, one segment, one lane: two intents with one identifier would be refused by the ledger, and stop the cutter."""
    use(ledger, "acme", "tokens", 1)
    assert ledger.cut(NOON_MS + 20 * MINUTE_MS) == 1
    renamed = CATALOGUE_TOML.replace('stripe_event_name = "tokens"', 'stripe_event_name = "tokens_2"')
    apply_second(ledger, renamed + '[meter.words]\nunit = "token"\nstripe_event_name = "tokens"\n')
    use(ledger, "acme", "words", 2)
    use(ledger, "globex", "tokens", 3)
    assert ledger.cut(NOON_MS + 40 * MINUTE_MS) == 2
    assert sent(ledger) == [("tokens", "cus_acme", 1), ("tokens", "cus_acme", 2), ("tokens_2", "cus_globex", 3)]
