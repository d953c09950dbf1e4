"""A small ledger that is true: filled through the store's own functions, with a date that the test sets.

Everything about Kafka and Stripe is left out: what they would have said is given by the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from services.stripe_sink.core import capture as core
from services.stripe_sink.core.dispatch_intent import draft
from tests.conftest import Database
from tests.makers.capture_batches import NOON_MS
from tests.makers.room_capture import RoomCapture
from trueup.contracts.catalogue import FROM_THE_BEGINNING_MS, CatalogueVersion, Timeline, VersionInForce, parse
from trueup.ledger.intents import Call, Reading, Result
from trueup.ledger.store import catalogue, clock, customers, reconciliation
from trueup.ledger.store.connection import connect
from trueup.ledger.store.dispatch import cuts, lanes, settlements
from trueup.ledger.store.reconciliation import HourReading

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
CATALOGUE_TOML = """
[meter.tokens]
unit = "token"
stripe_event_name = "tokens"

[meter.seconds]
unit = "second"
scale = 2
stripe_event_name = "seconds"

[meter.runs]
unit = "run"
aggregation = "count"
stripe_event_name = { basic = "runs_basic", pro = "runs_pro" }

[plan.basic]
stripe_prices = ["price_basic_runs", "price_tokens"]
[plan.pro]
stripe_prices = ["price_pro_runs", "price_tokens"]

[policy]
summary_settle = "PT2H"
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe is said to have answered to a call."""

    outcome_class: str
    final: bool
    may_have_arrived: bool
    http_status: int | None = None
    message: str | None = None


ACK = Answer("ack", True, True, 200)
REJECT = Answer("reject", True, False, 400, "refused: no such thing")
UNKNOWN = Answer("unknown", False, True, 500, "server_error")
RETRY = Answer("retry", False, False, 429, "rate_limited")


@dataclass
class TrueLedger:
    """What one test has to itself."""

    database: Database
    writer: psycopg.Connection
    admin: psycopg.Connection
    timeline: Timeline = field(init=False)
    room: RoomCapture = field(init=False)

    def __post_init__(self) -> None:
        self.room = RoomCapture(self.writer)
        self.timeline = Timeline.from_appended([(1, FROM_THE_BEGINNING_MS, parse(CATALOGUE_TOML))])
        self.set_now(NOON_MS)
        in_force = VersionInForce(1, FROM_THE_BEGINNING_MS, parse(CATALOGUE_TOML))
        catalogue.record_version(self.writer, CatalogueVersion(1, CATALOGUE_TOML, "test"), NOON_MS, in_force)

    @property
    def positions(self) -> dict[int, dict[str, int]]:
        """What is captured, by partition and topic."""
        return self.room.positions

    def set_now(self, now_ms: int) -> None:
        """Set the ledger's date."""
        clock.set_simulated_now(self.admin, now_ms)

    def map(self, customer: str) -> None:
        """Give a customer a Stripe customer."""
        customers.map_customer(self.writer, customer, f"cus_{customer}", reason="test", recorded_by="test")

    def capture(self, *announced: core.Announced, partition: int = 0, unaware: bool = False) -> int:
        """Capture progress records in one transaction, as the room does; gives the batch number.

        An unaware room looked for who is never billed before anybody was.
        """
        return self.room.capture(announced, self.timeline, partition, unaware=unaware)

    def arm(self) -> None:
        """Let dispatch begin; what arming compares is another test's matter."""
        self.admin.execute("insert into ledger.deployment values (true, 'acct_test', false, ops.now())")
        self.admin.execute(
            "insert into ledger.arming (action, reason, acted_by, database_identity, lanes_compared, lanes_different, recorded_at)"
            " values ('arm', 'test', 'test', ops.database_identity(), 0, 0, ops.now())"
        )

    def cut(self, now_ms: int) -> int:
        """Cut what is due at a date; says how many intents were made."""
        self.set_now(now_ms)
        cuts.discover(self.writer, cuts.cut(self.writer))
        cuts.judge(self.writer)
        covered = cuts.coverages(self.writer, 1_000)
        if not covered:
            return 0
        drafts = [draft(item, stripe_account="acct_test") for item in covered if item.events]
        return cuts.make_intents(self.writer, drafts, [item for item in covered if not item.events], "sink")

    def send(self, answer: Answer, now_ms: int) -> list[Call]:
        """Send what may be sent now and get the same answer to all; after one that settles nothing, one call a lane is made."""
        self.set_now(now_ms)
        sent: list[Call] = []
        while calls := self._claim():
            lanes.post(self.writer, [_result(call, answer) for call in calls], "sink")
            sent += calls
            if not answer.final:
                break
        return sent

    def settle(self, landed_quantity: int, now_ms: int) -> None:
        """Two readings a quarter of an hour apart that agree, for each hour that waits; with any quantity all of it had landed."""

        def verdict(reading: Reading) -> settlements.Verdict:
            return settlements.Verdict([item.intent_id for item in reading.unknown] if landed_quantity else [])

        for read_at_ms in (now_ms, now_ms + 16 * MINUTE_MS):
            self.set_now(read_at_ms)
            for hour in settlements.hours(self.writer):
                epoch = settlements.lease(self.writer, hour, "sink", 60.0)
                assert epoch is not None
                settlements.read(self.writer, hour, epoch, landed_quantity, verdict, "sink")
                self.admin.execute("update ops.lane_state set leased_until = '-infinity'")

    def _claim(self) -> list[Call]:
        return lanes.claim(self.writer, "sink", lease_seconds=60.0, most=100, key_of=lambda pick: pick.identifier)

    def lane(self, event_name: str, customer: str = "acme") -> int:
        """The number of a lane."""
        ((lane_id,),) = self.rows(
            "select lane_id from ledger.lane where stripe_customer = %s and stripe_event_name = %s", f"cus_{customer}", event_name
        )
        return int(lane_id)

    def read(
        self, event_name: str, values: Mapping[int, int], now_ms: int, *, customer: str = "acme", exact: bool = True, full: bool = True
    ) -> None:
        """Stripe was read: hour → quantity in the smallest unit. Hours it has nothing for are left out.

        Where nothing was ever sent it was asked too, and had nothing.
        """
        self.set_now(now_ms)
        self.read_silence(now_ms)
        readings = [HourReading(hour, str(quantity), quantity, exact) for hour, quantity in values.items()]
        lane_id = self.lane(event_name, customer)
        reconciliation.store_hours(self.writer, lane_id, NOON_MS - 48 * HOUR_MS, NOON_MS + 48 * HOUR_MS, readings, now_ms, full=full)

    def read_silence(self, now_ms: int) -> None:
        """Stripe was asked where nothing was ever sent, and had nothing."""
        for pair in reconciliation.silent_pairs(self.writer):
            reconciliation.store_pair(self.writer, pair, NOON_MS - 48 * HOUR_MS, NOON_MS + 48 * HOUR_MS, [], now_ms, full=True)

    def rows(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Look into the ledger as the superuser."""
        return self.admin.execute(statement.encode(), parameters or None).fetchall()

    @contextmanager
    def sabotage(self) -> Iterator[psycopg.Connection]:
        """A hand that no trigger stops."""
        with psycopg.connect(self.database.dsn, autocommit=True) as connection:
            tables = connection.execute(
                "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'ledger'"
            ).fetchall()
            for (table,) in tables:
                connection.execute(f"alter table {table} disable trigger user".encode())
            try:
                yield connection
            finally:
                for (table,) in tables:
                    for trigger in ("refuse_row_change", "refuse_truncate"):
                        connection.execute(f"alter table {table} enable always trigger {trigger}".encode())


def _result(call: Call, answer: Answer) -> Result:
    return Result(
        call=call,
        outcome_class=answer.outcome_class,
        final=answer.final,
        may_have_arrived=answer.may_have_arrived,
        http_status=answer.http_status,
        stripe_code=None,
        message=answer.message,
        request_id=f"req_{call.attempt_id}",
        halted_reason=None,
        settling=False,
        wait_seconds=-1.0,
    )


@contextmanager
def true_ledger(database: Database) -> Iterator[TrueLedger]:
    """A ledger with a catalogue, nothing else."""
    with connect(database.writer_dsn, "test") as writer, psycopg.connect(database.dsn, autocommit=True) as admin:
        admin.execute("set time zone 'UTC'")
        yield TrueLedger(database, writer, admin)


def hours(*pairs: tuple[int, int]) -> Mapping[int, int]:
    """Hours after noon → quantity."""
    return {NOON_MS + hour * HOUR_MS: quantity for hour, quantity in pairs}


__all__: Sequence[str] = [
    "ACK",
    "HOUR_MS",
    "MINUTE_MS",
    "NOON_MS",
    "REJECT",
    "RETRY",
    "UNKNOWN",
    "Answer",
    "TrueLedger",
    "hours",
    "true_ledger",
]
