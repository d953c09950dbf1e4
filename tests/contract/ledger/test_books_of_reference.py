"""Customers, catalogue versions and the deployment in the ledger: recorded once, and contradictions refused."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Database
from tests.makers.capture_batches import CATALOGUE_TOML, NOON_MS
from tests.makers.ledger_books import one, rows
from trueup.contracts.catalogue import CatalogueVersion, Timeline, parse
from trueup.contracts.errors import Broken
from trueup.ledger.store import catalogue, clock, customers, deployment
from trueup.ledger.store.connection import connect
from trueup.ledger.store.customers import RefusedMapping
from trueup.ledger.store.deployment import Deployment

WHO = {"reason": "test", "recorded_by": "tester"}
PLANNED = (
    CATALOGUE_TOML.replace('stripe_event_name = "runs"', 'stripe_event_name = { basic = "runs_basic", pro = "runs_pro" }')
    + 'bill_from = "2026-11-01T00:00:00Z"\n[plan.pro]\nstripe_prices = ["price_pro"]\n'
)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    with connect(database.writer_dsn, "test") as opened:
        yield opened


def test_customer_maps_one_to_one_both_ways(connection: psycopg.Connection):
    """A Stripe customer belongs to one customer for ever; a customer may move to another one, and the newest mapping holds."""
    assert customers.map_customer(connection, "acme", "cus_1", **WHO)
    assert not customers.map_customer(connection, "acme", "cus_1", **WHO)
    with pytest.raises(RefusedMapping, match="belongs to customer acme"):
        customers.map_customer(connection, "globex", "cus_1", **WHO)
    assert customers.map_customer(connection, "acme", "cus_2", **WHO)
    with pytest.raises(RefusedMapping, match="before"):
        customers.map_customer(connection, "acme", "cus_1", **WHO)
    assert customers.resolve(connection, ["acme", "globex"]) == {"acme": "cus_2", "globex": None}
    assert [line.stripe_customer for line in customers.timeline(connection, "acme")] == ["cus_1", "cus_2"]
    assert customers.timeline(connection)[0].recorded_at_ms > 0


def test_stripe_customer_stands_for_itself(connection: psycopg.Connection):
    """An id that starts with `cus_` needs no mapping, and is not given away while it stands for itself."""
    connection.execute("insert into ledger.subject (customer, meter) values ('cus_7', 'tokens')")
    assert customers.resolve(connection, ["cus_7", "cus_8", "custer"]) == {"cus_7": "cus_7", "cus_8": "cus_8", "custer": None}
    with pytest.raises(RefusedMapping, match="usage under its own id"):
        customers.map_customer(connection, "acme", "cus_7", **WHO)
    with pytest.raises(RefusedMapping, match="stands for itself"):
        customers.map_customer(connection, "cus_7", "cus_9", **WHO)
    assert customers.map_customer(connection, "acme", "cus_8", **WHO)
    # Given to acme, it is nobody else's: usage under its own id waits as unmapped instead of mixing two customers.
    assert customers.resolve(connection, ["cus_8"]) == {"cus_8": None}


@pytest.mark.parametrize(("customer", "stripe_customer"), [("acme", "acct_1"), ("", "cus_1"), ("acme", "")])
def test_no_stripe_customer_is_refused(connection: psycopg.Connection, customer: str, stripe_customer: str):
    """What is no Stripe customer's id cannot be mapped to."""
    with pytest.raises(RefusedMapping):
        customers.map_customer(connection, customer, stripe_customer, **WHO)


def test_import_is_all_or_nothing(connection: psycopg.Connection):
    """A file with one fault records nothing, and names every line that is at fault."""
    pairs = [("a", "cus_a"), ("b", "cus_a"), ("c", "nobody"), ("d", "cus_d")]
    new, faults = customers.import_mappings(connection, pairs, **WHO)
    assert (new, [line for line, _why in faults]) == (0, [2, 3])
    assert customers.timeline(connection) == []
    assert customers.import_mappings(connection, [pairs[0], pairs[3]], **WHO) == (2, [])
    assert customers.import_mappings(connection, [pairs[0], ("e", "cus_e")], **WHO) == (1, [])


def _record(connection: psycopg.Connection, timeline: Timeline, version: int, text: str, appended_ms: int) -> bool:
    timeline = timeline.with_version(version, appended_ms, parse(text))
    return catalogue.record_version(connection, CatalogueVersion(version, text, "test"), appended_ms, timeline.versions[-1])


def test_catalogue_version_is_recorded_once(connection: psycopg.Connection):
    """Two sinks read the same version: one row. The first holds from the beginning, the next from its append time + 60 s."""
    first = Timeline().with_version(1, NOON_MS, parse(CATALOGUE_TOML))
    assert catalogue.newest_version(connection) == 0
    assert _record(connection, Timeline(), 1, CATALOGUE_TOML, NOON_MS)
    assert not _record(connection, Timeline(), 1, CATALOGUE_TOML, NOON_MS)
    assert _record(connection, first, 2, PLANNED, NOON_MS + 1_000)
    assert catalogue.newest_version(connection) == 2
    assert rows(connection, "select version, in_force_from = '-infinity', bill_from is null from ledger.catalogue_version order by 1") == [
        (1, True, True),
        (2, False, False),
    ]
    assert one(connection, "select ledger.milliseconds(in_force_from) from ledger.catalogue_version where version = 2") == (
        NOON_MS + 61_000,
    )
    assert rows(connection, "select meter, plan, stripe_event_name from ledger.meter_event_name where version = 2 order by 1, 2") == [
        ("runs", "basic", "runs_basic"),
        ("runs", "pro", "runs_pro"),
        ("tokens", "", "tokens"),
    ]
    assert rows(connection, "select meter, aggregation, roll_up_seconds from ledger.meter_version where version = 1 order by 1") == [
        ("runs", "count", 300),
        ("tokens", "sum", 300),
    ]


def test_catalogue_version_with_other_content_halts(connection: psycopg.Connection):
    """A number that stands for two contents means that decisions rest on something nobody can name any more."""
    assert _record(connection, Timeline(), 1, CATALOGUE_TOML, NOON_MS)
    with pytest.raises(Broken, match="another content"):
        _record(connection, Timeline(), 1, PLANNED, NOON_MS)


def test_deployment_is_recorded_once(connection: psycopg.Connection):
    """One ledger serves one Stripe account in one mode; another one halts."""
    assert deployment.held(connection) is None
    assert deployment.record(connection, Deployment("acct_1", False))
    assert not deployment.record(connection, Deployment("acct_1", False))
    for other in (Deployment("acct_2", False), Deployment("acct_1", True)):
        with pytest.raises(Broken, match="acct_1"):
            deployment.record(connection, other)
    assert deployment.held(connection) == Deployment("acct_1", False)


def test_simulated_clock_is_what_sql_goes_by(database: Database, connection: psycopg.Connection):
    """`ops.now()` is the street's date where there is one, the machine's otherwise."""
    assert abs(clock.now_ms(connection) - one(connection, "select (extract(epoch from clock_timestamp()) * 1000)::bigint")[0]) < 10_000
    with psycopg.connect(database.dsn, autocommit=True) as owner:
        for date in (NOON_MS + 123, NOON_MS - 5):
            clock.set_simulated_now(owner, date)
            assert clock.now_ms(connection) == date
