"""A street seen from outside, by clients of its own: what is unread and open at an instant, and what came of it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import requests
from confluent_kafka import Consumer, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # public, but not in __all__
from fastavro import schemaless_reader

from devstack.street import Street
from trueup.contracts.codec import schema

PARTITIONS = 4
CAPTURES = """
    select substr(a.application_name, 8) from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.mode = 'ShareLock' and l.granted and a.application_name like 'trueup-stripe-sink-%/capture'
"""
# The newest call of each intent that is still open.
CALLS = """
    select a.holder from ops.open_intent i
    cross join lateral (
        select a.attempt_id, a.holder from ledger.attempt a where a.intent_id = i.intent_id order by a.attempt_id desc limit 1
    ) a
    where not exists (select from ledger.outcome o where o.attempt_id = a.attempt_id)
"""
UNREAD_HOURS = "select count(*) from finance.stripe_reconciliation where quantity_acknowledged > 0 and explanation <> 'agrees'"
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Pressure:
    """What was going on at an instant, by the room whose it was."""

    undecided: Counter[str]  # records of the source topic behind the committed offsets, by the member that has them
    transactions: Counter[str]  # a member's partitions on which an output's last stable offset lies before its end
    uncaptured: Counter[str]  # committed records on a sink's own topics behind the ledger's positions
    captures: Counter[str]  # a sink's capture transactions in Postgres that hold the barrier
    calls: Counter[str]  # open intents whose newest attempt has no answer, made by a process that still lives
    unread_hours: int  # what Stripe acknowledged and the reconciler has not found in a summary yet, by customer, meter and hour


Caught = Callable[[Pressure], bool]


def deciding(room: str | None = None) -> Caught:
    """Usage is unread, by this room or by anybody, and a transaction or a call is open on the street.

    The room's own transaction is open for some milliseconds a batch: tests/system/dedupe stops it there by a place of its own.
    """
    return lambda seen: _of(seen.undecided, room) > 0 and (seen.transactions + seen.captures + seen.calls).total() > 0


def capturing(seen: Pressure) -> bool:
    """What dedupe announced is unread, and somebody's capture is open."""
    return seen.uncaptured.total() > 0 and seen.captures.total() > 0


def sinking(room: str) -> Caught:
    """What dedupe announced to this sink is unread, and a capture or a call of its own is open."""
    return lambda seen: seen.uncaptured[room] > 0 and seen.captures[room] + seen.calls[room] > 0


def calling(room: str | None = None) -> Caught:
    """What dedupe announced is unread, and an intent's call to Stripe is unanswered."""
    return lambda seen: _of(seen.uncaptured, room) > 0 and _of(seen.calls, room) > 0


def reading(seen: Pressure) -> bool:
    """The reconciler's input is what Stripe acknowledged. It only reads here: what is open on the street meanwhile is others' work."""
    return seen.unread_hours > 0 and (seen.transactions + seen.captures + seen.calls).total() > 0


def _of(counted: Counter[str], room: str | None) -> int:
    return counted.total() if room is None else counted[room]


class Watch:
    """Looks at a street from outside, with clients of its own."""

    def __init__(self, street: Street) -> None:
        self._street = street
        self._bootstrap = street.settings.kafka_bootstrap
        self._dsn = street.owner_settings.postgres_dsn
        self._group = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "trueup.dedupe",
                "enable.auto.commit": False,
                # Else the coordinator lets us wait for the transaction of the very room that was stopped to be looked at.
                "isolation.level": "read_uncommitted",
            }
        )

    def pressure(self) -> Pressure:
        """Now."""
        topics = self._street.topics
        # A new client each time: one that lived through a broker's restart goes on asking with the leader epoch from before.
        client = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        outputs = [topics.on_time, topics.late, topics.rejected, topics.progress]
        source, ends = _ends(client, [topics.usage_events]), _ends(client, outputs)
        stable = _ends(client, outputs, stable=True)
        committed = self._group.committed([TopicPartition(name, number) for name, number in source], timeout=10)
        undecided, transactions = Counter[str](), Counter[str]()
        members = _members(client)
        for one in committed:
            room = members.get(one.partition, "")
            undecided[room] += source[one.topic, one.partition] - max(one.offset, 0)
            # An output stands in the partition that its input came in.
            transactions[room] += any(stable[name, one.partition] < ends[name, one.partition] for name in outputs)
        with psycopg.connect(self._dsn, autocommit=True) as ledger:
            uncaptured = Counter[str]()
            for holder, topic, partition, offset in ledger.execute("select holder, topic, partition, next_offset from ops.source_offset"):
                # At the end a position stands before the last transaction's marker, which is no record.
                uncaptured[_room(holder)] += max(0, stable[topic, partition] - offset - 1)
            return Pressure(
                undecided,
                transactions,
                uncaptured,
                captures=_living(ledger, CAPTURES),
                calls=_living(ledger, CALLS),
                unread_hours=_number(ledger, UNREAD_HOURS),
            )

    def books(self) -> Counter[tuple[str, str]]:
        """What the emulator received, in units per customer and meter."""
        answer = requests.get(f"{self._street.settings.stripe_url}/_emulator/books", timeout=30).json()
        summed: Counter[tuple[str, str]] = Counter()
        for event_name, by_customer in answer["meters"].items():
            for stripe_customer, held in by_customer.items():
                summed[stripe_customer.replace("cus_", "customer-"), event_name] += int(held["value"])
        return +summed

    def on_time_ids(self) -> Counter[str]:
        """Every event id on usage.on_time.v1 as a read_committed reader sees it, with how often it stands there."""
        reader = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "oracle",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        topic = self._street.topics.on_time
        reader.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        seen: Counter[str] = Counter()
        at_end: set[int] = set()
        while len(at_end) < PARTITIONS:
            for message in reader.consume(10_000, 5.0):
                if message.error() is not None:
                    at_end.add(message.partition() or 0)
                    continue
                datum: Any = schemaless_reader(BytesIO((message.value() or b"")[10:]), schema("usage_event").parsed, None)
                seen[datum["id"]] += 1
        reader.close()
        return seen


def _number(ledger: psycopg.Connection, query: str) -> int:
    row = ledger.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _room(holder: str) -> str:
    """The room of `room/process/…`."""
    return holder.partition("/")[0]


def _living(ledger: psycopg.Connection, query: str) -> Counter[str]:
    """Rows by the room that holds them. What a killed process left behind, unanswered for ever, is nobody's work."""
    holders = [str(row[0]) for row in ledger.execute(query.encode())]
    return Counter(_room(holder) for holder in holders if Path("/proc", holder.split("/")[1]).exists())


def _members(client: AdminClient) -> dict[int, str]:
    """Which dedupe room has which partition of the source topic."""
    described = client.describe_consumer_groups(["trueup.dedupe"], request_timeout=10)["trueup.dedupe"].result(15)
    return {
        place.partition: member.client_id.removeprefix("trueup-")
        for member in described.members
        for place in member.assignment.topic_partitions
    }


def _ends(client: AdminClient, topics: list[str], *, stable: bool = False) -> dict[Place, int]:
    newest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library forgot to annotate it
    asked = {TopicPartition(topic, number): newest for topic in topics for number in range(PARTITIONS)}
    level = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
    found = client.list_offsets(asked, isolation_level=level, request_timeout=10)
    return {(place.topic, place.partition): future.result(15).offset for place, future in found.items()}


def lies_unread(url: str) -> bool:
    """Whether the kernel holds bytes for the server at an address that it has not taken yet; of Linux's table of TCP sockets."""
    port = urlsplit(url).port
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    established = [fields for fields in sockets if fields[3] == "01" and int(fields[1].partition(":")[2], 16) == port]
    return any(int(fields[4].partition(":")[2], 16) > 0 for fields in established)
