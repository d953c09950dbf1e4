"""Real parts for every test that needs them: one broker and one Postgres a run, topics and a database of its own a test.

A part that is missing fails the test; nothing here skips.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import psycopg
import pytest

from devstack.kafka import Kafka
from devstack.postgres import Postgres
from devstack.process import Part, spawn, wait_until
from trueup.contracts.topics import TopicNames, declared
from trueup.ledger.migrate import migrate
from trueup.runtime import kafka
from trueup.runtime.settings import StreetSettings

PARTITIONS = 4
START_SECONDS = 240  # the first run on a machine downloads Kafka
TEMPLATE = "template_ledger"
_numbers = itertools.count(1)

# A machine that is busy with something else is no fault of the code: an example may take as long as its test.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

MakeTopics = Callable[..., TopicNames]


@dataclass(frozen=True, slots=True)
class Database:
    """A database of the test's own, at the newest migration; it is dropped when the test ends."""

    name: str
    server: Postgres

    @property
    def dsn(self) -> str:
        """As the superuser: for migrations and for looking."""
        return self.server.dsn(self.name)

    @property
    def writer_dsn(self) -> str:
        """As the rooms connect."""
        return self.dsn_of("trueup_writer")

    def dsn_of(self, user: str) -> str:
        """As any of the cluster's roles."""
        return self.server.dsn(self.name, user)


def _running(part: Part, folder: Path) -> Iterator[None]:
    log = folder / f"{part.name}.log"
    process = spawn(part.prepare(), log, part.death_signal)
    try:
        if not wait_until(lambda: process.poll() is not None or part.ready().ok, START_SECONDS, 0.1) or process.poll() is not None:
            pytest.fail(f"{part.name} did not start:\n{log.read_text()[-4_000:]}", pytrace=False)
        yield
    finally:
        process.send_signal(part.stop_signal)
        process.wait(30)


@pytest.fixture(scope="session", autouse=True)
def _environment_of_tests() -> None:
    """What a developer's shell says about a street of their own must not reach the tests."""
    for name in [name for name in os.environ if name.startswith("TRUEUP_")]:
        if name not in {"TRUEUP_FOLDER", "TRUEUP_JAVA", "TRUEUP_POSTGRES_BIN"}:
            del os.environ[name]


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """The broker of this run. A test that wants to hurt a broker starts its own."""
    folder = tmp_path_factory.mktemp("kafka")
    broker = Kafka(folder, print)
    for _ in _running(broker.part(), folder):
        yield broker


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The Postgres of this run. A test that wants to hurt a server starts its own."""
    folder = tmp_path_factory.mktemp("postgres")
    server = Postgres(folder, print)
    for _ in _running(server.part(), folder):
        yield server


@pytest.fixture(scope="session")
def _template(postgres_server: Postgres) -> str:
    """Migrated once; copying a database costs a tenth of migrating one."""
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute(f'create database "{TEMPLATE}"')
    migrate(postgres_server.dsn(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def empty_database(postgres_server: Postgres) -> Iterator[Database]:
    """A database without our schema."""
    yield from _database(postgres_server, "template1")


@pytest.fixture
def database(postgres_server: Postgres, _template: str) -> Iterator[Database]:
    """A migrated database."""
    yield from _database(postgres_server, _template)


def _database(server: Postgres, template: str) -> Iterator[Database]:
    database = Database(f"ledger_{next(_numbers)}", server)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f'create database "{database.name}" template "{template}"')
        yield database
        connection.execute(f'drop database "{database.name}" with (force)')


@pytest.fixture
def make_topics(kafka_server: Kafka) -> Iterator[MakeTopics]:
    """Makes the declared topics under a prefix of their own: `make_topics(simulated=True, partitions=2)`."""
    made: list[str] = []
    settings = StreetSettings(kafka_bootstrap=kafka_server.bootstrap, room="test")

    def make(*, simulated: bool = False, partitions: int = PARTITIONS) -> TopicNames:
        prefix = f"t{next(_numbers)}."
        made.extend(kafka.create_missing_topics(settings, declared(simulated, partitions, prefix=prefix)))
        return TopicNames(prefix)

    yield make
    if made:
        # Waiting for the answers holds the client: one that is collected takes its open requests along.
        client = kafka.admin(settings)
        for deleted in client.delete_topics(made).values():
            deleted.result()


@pytest.fixture
def topics(make_topics: MakeTopics) -> TopicNames:
    """The declared topics, system clock, 4 partitions."""
    return make_topics()


@pytest.fixture
def kafka_settings(kafka_server: Kafka, topics: TopicNames) -> StreetSettings:
    """What a client of the broker needs; no database."""
    return StreetSettings(kafka_bootstrap=kafka_server.bootstrap, topic_prefix=topics.prefix, partitions=PARTITIONS, room="test-1")


@pytest.fixture
def settings(kafka_settings: StreetSettings, database: Database) -> StreetSettings:
    """What a room is given: topics and the ledger as the writer."""
    return kafka_settings.model_copy(update={"postgres_dsn": database.writer_dsn})
