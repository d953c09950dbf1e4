"""The whole street on one machine: Kafka, Postgres, the Stripe emulator, the rooms, and one clock for all of them."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from devstack import doors, rooms, stripe_setup
from devstack.background import StreetError, down, status, up
from devstack.clock import CLOCK_FILE, DEFAULT_PATIENCE_SECONDS, Barrier, ClockFile
from devstack.control import ControlServer
from devstack.kafka import Kafka
from devstack.places import REPOSITORY, kept_port
from devstack.postgres import Postgres
from devstack.process import Part
from devstack.rooms import ALL_PARTS, CONFLUENT_SCHEMA_IDS, EMULATOR, EMULATOR_KEY, INGEST, KAFKA, POSTGRES, USAGE_VIEW
from devstack.settling import settled_sooner
from devstack.supervisor import PartStatus, Say, Supervisor
from trueup.contracts.topics import TopicNames, declared
from trueup.ledger.migrate import migrate
from trueup.ledger.store.clock import set_simulated_now
from trueup.ledger.store.connection import connect
from trueup.runtime.clock import SystemClock, clock_from
from trueup.runtime.kafka import create_missing_topics
from trueup.runtime.settings import StreetSettings

__all__ = ["Street", "StreetError", "down", "status", "up"]

EXAMPLE_CATALOGUE = REPOSITORY / "deploy" / "catalogue.example.toml"
DATABASE = "trueup"
_SERVERS_SECONDS = 240.0
_ROOMS_SECONDS = 120.0
_LEDGER_SECONDS = 60.0


def say_on_stderr(line: str) -> None:
    """Progress is talk: it goes where it does not mix with data."""
    sys.stderr.write(f"{line}\n")


def month_before(instant_ms: int) -> int:
    """The first instant of the calendar month before the one this date lies in, in UTC."""
    this_month = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant_ms)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    first = (this_month - timedelta(days=1)).replace(day=1)
    return (first - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _refuse_unknown(clock: str, parts: Sequence[str]) -> None:
    if clock not in {"system", "simulated"}:
        raise ValueError(f"the street's clock is 'system' or 'simulated', not {clock!r}")
    unknown = sorted(set(parts) - set(ALL_PARTS))
    if unknown:
        raise ValueError(f"no part is called {', '.join(unknown)}; there are {', '.join(ALL_PARTS)}")


class Street:
    """A street in this process: its parts are children and die with it.

    A test names only the parts it is about; servers it already has are given by address and not started again.
    """

    def __init__(
        self,
        data: Path,
        *,
        parts: Sequence[str] = ALL_PARTS,
        clock: str = "system",
        clock_start_ms: int | None = None,
        catalogue: Path | None = None,
        customers: Sequence[stripe_setup.StreetCustomer] | None = None,
        amounts: Mapping[str, Mapping[str, Any]] | None = None,
        partitions: int = 12,
        topic_prefix: str = "",
        kafka_bootstrap: str | None = None,
        postgres_dsn: str | None = None,
        writer_dsn: str | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        say: Say = say_on_stderr,
    ) -> None:
        """`clock` is "system" or "simulated"; without `catalogue` the example is loaded, with customers acme and globex.

        `amounts` says in Stripe's own words what a price of the catalogue costs, by its name; any other one is a hundredth cent a unit.
        `environment` adds variables for single rooms: `{"dedupe-1": {"TRUEUP_BATCH_RECORDS": "100"}}`.
        """
        _refuse_unknown(clock, parts)
        self.data = data.resolve()
        self.data.mkdir(parents=True, exist_ok=True)
        self.parts = tuple(name for name in ALL_PARTS if name in parts)
        self._say = say
        self._catalogue = catalogue or EXAMPLE_CATALOGUE
        self._customers = customers if customers is not None else (() if catalogue else stripe_setup.ACME_AND_GLOBEX)
        self._amounts = amounts or {}
        self._partitions = partitions
        start_ms = clock_start_ms if clock_start_ms is not None else month_before(SystemClock().now_ms())
        self._clock_file = ClockFile(self.data / CLOCK_FILE, start_ms) if clock == "simulated" else None
        self._kafka = Kafka(self.data, say) if kafka_bootstrap is None else None
        self._postgres = Postgres(self.data, say) if postgres_dsn is None else None
        self._topic_prefix = topic_prefix
        self._bootstrap = kafka_bootstrap or (self._kafka.bootstrap if self._kafka else "")
        self._postgres_dsn = postgres_dsn or (self._postgres.dsn(DATABASE) if self._postgres else "")
        self._writer_dsn = writer_dsn or (self._postgres.dsn(DATABASE, "trueup_writer") if self._postgres else "")
        self._emulator = rooms.emulator_part(self.data, self.clock)
        self._doors = doors.doors_of(self.data) if INGEST in self.parts else None
        self._usage_doors = doors.usage_doors_of(self.data) if USAGE_VIEW in self.parts else None
        self._rooms = self._make_rooms(environment or {})
        self.supervisor = Supervisor(self.data, say)
        self._barrier: Barrier | None = None
        self._control = ControlServer(kept_port(self.data, "control"), self._status_json, lambda: self._barrier)

    def _make_rooms(self, extra: Mapping[str, Mapping[str, str]]) -> dict[str, Part]:
        own = self._environment_of_doors()
        return {
            name: rooms.room_part(name, self.data, {**self.environment(), **own.get(name, {}), **extra.get(name, {})})
            for name in self.parts
            if name in rooms.ROOMS
        }

    @property
    def clock(self) -> str:
        """What `TRUEUP_CLOCK` says in every room."""
        return self._clock_file.setting if self._clock_file else "system"

    @property
    def topics(self) -> TopicNames:
        """The street's topics."""
        return TopicNames(self._topic_prefix)

    @property
    def settings(self) -> StreetSettings:
        """What a room is given, as an object."""
        return self._settings(self._writer_dsn)

    @property
    def owner_settings(self) -> StreetSettings:
        """The same, but the ledger as its owner: for migrations and for `trueup`."""
        return self._settings(self._postgres_dsn)

    def _environment_of_doors(self) -> dict[str, Mapping[str, str]]:
        own: dict[str, Mapping[str, str]] = {}
        if self._doors:
            own[INGEST] = self._doors.environment
        if self._usage_doors:
            # The one room that shows customers what is there may change none of it.
            reader = (
                self._postgres.dsn(DATABASE, "usage_ro") if self._postgres else self._writer_dsn.replace("//trueup_writer", "//usage_ro", 1)
            )
            own[USAGE_VIEW] = {**self._usage_doors.environment, "TRUEUP_POSTGRES_DSN": reader}
        return own

    def _settings(self, dsn: str) -> StreetSettings:
        return StreetSettings(
            kafka_bootstrap=self._bootstrap,
            postgres_dsn=dsn,
            stripe_url=self._emulator.address,
            stripe_api_key=EMULATOR_KEY,
            topic_prefix=self._topic_prefix,
            clock=self.clock,
            partitions=self._partitions,
            confluent_schema_ids=CONFLUENT_SCHEMA_IDS,
            room="street",
        )

    def environment(self, name: str | None = None) -> dict[str, str]:
        """The variables of every room, or of one."""
        shared = {
            "TRUEUP_KAFKA_BOOTSTRAP": self._bootstrap,
            "TRUEUP_POSTGRES_DSN": self._writer_dsn,
            "TRUEUP_STRIPE_URL": self._emulator.address,
            "TRUEUP_STRIPE_API_KEY": EMULATOR_KEY,
            "TRUEUP_TOPIC_PREFIX": self._topic_prefix,
            "TRUEUP_CLOCK": self.clock,
            "TRUEUP_PARTITIONS": str(self._partitions),
            "TRUEUP_CONFLUENT_SCHEMA_IDS": json.dumps(CONFLUENT_SCHEMA_IDS),
        }
        return shared if name is None else {**shared, **self._rooms[name].prepare().environment}

    def start(self) -> Self:
        """Brings everything up and waits until it is ready; tells on the way what it is doing."""
        began = time.monotonic()
        self.supervisor.sweep()
        self._control.start()
        servers = self._server_parts()
        self.supervisor.start(servers)
        self.supervisor.wait_ready([part.name for part in servers], _SERVERS_SECONDS)
        self._make_ledger()
        self._make_topics()
        self._set_up()
        self.supervisor.start(self._rooms.values())
        self._barrier = self._make_barrier()
        self.supervisor.wait_ready(self._rooms, _ROOMS_SECONDS)
        self._point_emulator()
        self._arm()
        self._say(f"the street is up after {time.monotonic() - began:.1f} s")
        return self

    def _server_parts(self) -> list[Part]:
        own = {KAFKA: self._kafka, POSTGRES: self._postgres}
        servers = [server.part() for name, server in own.items() if name in self.parts and server is not None]
        return [*servers, self._emulator] if EMULATOR in self.parts else servers

    def _make_ledger(self) -> None:
        if not self._postgres_dsn or (self._postgres and POSTGRES not in self.parts):
            return
        self._say("ledger: migrating")
        if self._postgres:
            self._postgres.create_database(DATABASE)
        migrate(self._postgres_dsn)
        if self._clock_file:
            self._set_ledger_clock(self._clock_file.now_ms())
        if self._doors:
            doors.record_key(self._postgres_dsn, self._doors.api_key, doors.HOLDER, doors.SCOPES)
        if self._usage_doors:
            doors.record_key(self._postgres_dsn, self._usage_doors.api_key, doors.READER, doors.READER_SCOPES)

    def _make_topics(self) -> None:
        if self._kafka and KAFKA not in self.parts:
            return
        wanted = declared(self._clock_file is not None, self._partitions, prefix=self._topic_prefix)
        made = create_missing_topics(self.owner_settings, wanted)
        self._say(f"topics: made {len(made)}, {len(wanted) - len(made)} were there")

    def _set_up(self) -> None:
        if EMULATOR not in self.parts:
            return
        self._say(f"catalogue: {self._catalogue.name}, customers: {', '.join(one.name for one in self._customers) or 'none'}")
        since_ms = month_before(clock_from(self.clock).now_ms())
        toml = self._catalogue.read_text(encoding="utf-8")
        if self._clock_file is None:
            toml = settled_sooner(toml)
        stripe_setup.prepare(self.owner_settings, stripe_setup.SetUp(toml, tuple(self._customers), since_ms, self._amounts))

    def _arm(self) -> None:
        if EMULATOR in self.parts and self._postgres_dsn:
            stripe_setup.arm_emulator(self.owner_settings)
            self._say("dispatch: armed for the emulator")

    def _point_emulator(self) -> None:
        if EMULATOR in self.parts and self._doors:
            doors.point_emulator(self._emulator.address, EMULATOR_KEY, self._doors)

    def _make_barrier(self) -> Barrier | None:
        if self._clock_file is None:
            return None
        asked = [*self._rooms.values(), *([self._emulator] if EMULATOR in self.parts else [])]
        urls = {part.name: url for part in asked if (url := rooms.activity_url(part)) is not None}
        owned = rooms.owned_by(self.parts, self._partitions)
        return Barrier(self._clock_file, self._set_ledger_clock, urls, owned, self.supervisor.halted)

    def _set_ledger_clock(self, now_ms: int) -> None:
        """Tells the ledger the date; while Postgres is being started again that takes a few tries."""
        if not self._postgres_dsn:
            return
        deadline = time.monotonic() + _LEDGER_SECONDS
        while True:
            try:
                with connect(self._postgres_dsn, "trueup-clock") as connection:
                    set_simulated_now(connection, now_ms)
                return
            except Exception:  # a database that is down says so in many ways; after the deadline the last one is told
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def advance_to(self, instant_ms: int, patience_seconds: float = DEFAULT_PATIENCE_SECONDS) -> int:
        """Moves the simulated clock through every due date up to this one; returns when the street is at rest."""
        if self._barrier is None:
            raise RuntimeError("only a street that was started with clock='simulated' can be moved")
        return self._barrier.advance_to(instant_ms, patience_seconds)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Sends a signal to a part, which is started again if it dies of it. Returns the process that got it."""
        return self.supervisor.kill(name, number)

    def wait_ready(self, *names: str, seconds: float = _ROOMS_SECONDS) -> None:
        """Waits for these parts, or for all."""
        self.supervisor.wait_ready(names or self.parts, seconds)

    def status(self) -> list[PartStatus]:
        """How all parts are."""
        return self.supervisor.status()

    def _status_json(self) -> list[dict[str, object]]:
        return [status.as_json() for status in self.status()]

    def describe(self) -> dict[str, Any]:
        """The object of `trueup up --json`; what does not exist yet is null."""
        finance = self._postgres_dsn.replace("//trueup@", "//finance_ro@", 1)
        return {
            "ingest_url": self._doors.url if self._doors else None,
            "ingest_api_key": self._doors.api_key if self._doors else None,
            "webhooks_url": self._doors.webhooks_url if self._doors else None,
            "usage_url": self._usage_doors.url if self._usage_doors else None,
            "stripe_url": self._emulator.address,
            "stripe_api_key": EMULATOR_KEY,
            "stripe_webhook_secret": self._doors.webhook_secret if self._doors else None,
            "kafka_bootstrap": self._bootstrap,
            "postgres_dsn": self._postgres_dsn,
            "finance_dsn": finance,
            "usage_api_key": self._usage_doors.api_key if self._usage_doors else None,
            "staff_token": None,
            "metrics": {name: f"{part.address}/metrics" for name, part in self._rooms.items()},
            "clock_url": f"{self._control.url}/clock" if self._clock_file else None,
            "data_dir": str(self.data),
        }

    def describe_more(self) -> dict[str, Any]:
        """What `trueup` needs beside the contract's object to speak to this street."""
        return {
            "clock": self.clock,
            "partitions": self._partitions,
            "topic_prefix": self._topic_prefix,
            "confluent_schema_ids": CONFLUENT_SCHEMA_IDS,
            "status_url": f"{self._control.url}/status",
            "settles_sooner": self._clock_file is None,
        }

    def stop(self) -> None:
        """Stops every part, the last started first."""
        self.supervisor.stop_all()
        self._control.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exception: object) -> None:
        self.stop()
