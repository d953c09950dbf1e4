"""The schema: migrated to once or twice it is the same, nobody may change a ledger row, and each role can do its work only."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import errors

from devstack.postgres import Postgres
from devstack.process import spawn, wait_until
from tests.conftest import Database
from trueup.contracts.errors import Broken, Transient
from trueup.ledger import migrate
from trueup.ledger.store import queries
from trueup.ledger.store.connection import connect

SNAPSHOTS = (
    "select table_schema, table_name, column_name, data_type, is_nullable, column_default, ordinal_position from information_schema.columns"
    " where table_schema in ('ledger', 'ops', 'finance') order by 1, 2, 7",
    "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint"
    " where connamespace in ('ledger'::regnamespace, 'ops'::regnamespace) order by 1, 2",
    "select schemaname, tablename, indexdef from pg_indexes where schemaname in ('ledger', 'ops') order by 3",
    "select tgrelid::regclass::text, tgname, tgenabled, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1, 2",
    "select oid::regprocedure::text, pg_get_functiondef(oid), proacl::text from pg_proc"
    " where pronamespace in ('ledger'::regnamespace, 'ops'::regnamespace, 'finance'::regnamespace) order by 1",
    "select viewname, viewowner, definition from pg_views where schemaname = 'finance' order by 1",
    "select oid::regclass::text, relacl::text, pg_get_userbyid(relowner), obj_description(oid, 'pg_class') from pg_class"
    " where relnamespace in ('ledger'::regnamespace, 'ops'::regnamespace, 'finance'::regnamespace) order by 1",
    "select nspname, nspacl::text, pg_get_userbyid(nspowner) from pg_namespace"
    " where nspname in ('ledger', 'ops', 'finance', 'public') order by 1",
    "select version_num from ops.alembic_version",
)


def _snapshot(dsn: str) -> list[list[tuple[object, ...]]]:
    with psycopg.connect(dsn) as connection:
        return [connection.execute(question.encode()).fetchall() for question in SNAPSHOTS]


def test_migrate_twice_changes_nothing(database: Database):
    """Running `trueup migrate` again is free."""
    before = _snapshot(database.dsn)
    migrate.migrate(database.dsn)
    assert _snapshot(database.dsn) == before


def test_a_migration_goes_on_beside_a_reader_that_it_cannot_wait_for(database: Database):
    """Each holds what the other wants next: whoever gives way begins again, and nobody has to stop the rooms."""
    waits = "select count(*) from pg_stat_activity where application_name = 'trueup-migrate' and wait_event_type = 'Lock'"
    with (
        ThreadPoolExecutor(1) as pool,
        connect(database.dsn, "reader", lock_timeout_seconds=40) as reader,
        connect(database.dsn, "watcher") as watcher,
    ):
        with reader.transaction():
            reader.execute("select from derived.period")
            migration = pool.submit(migrate.migrate, database.dsn)
            assert wait_until(lambda: watcher.execute(waits).fetchone() == (1,), 10)
            reader.execute("set local deadlock_timeout = '30s'")  # so that it is the migration that finds out
            reader.execute("select from finance.period_status")
        migration.result(timeout=60)
        assert migrate.standing_at(watcher) == migrate.head()


def test_script_for_a_dba_makes_the_same_schema(empty_database: Database, database: Database):
    """`migrate --sql` prints everything that `migrate` does."""
    with psycopg.connect(empty_database.dsn, autocommit=True) as connection:
        connection.execute(migrate.script().encode())
    assert _snapshot(empty_database.dsn) == _snapshot(database.dsn)


@pytest.mark.parametrize("stands_at", ["0001", "0006", None])
def test_script_for_a_dba_holds_what_is_missing(empty_database: Database, database: Database, stands_at: str | None):
    """From any released migration on, and from the newest, of which only views, comments and grants are left to make."""
    first = stands_at or migrate.head()
    with psycopg.connect(empty_database.dsn, autocommit=True) as connection:
        assert migrate.standing_at(connection) is None
        begun = [(migrate.SQL / "standing" / name).read_text() for name in ("00_roles.sql", "10_begin.sql")]
        connection.execute("\n".join(["begin;", *begun, migrate.migrations_between(None, first), "commit;"]).encode())
        assert migrate.standing_at(connection) == first
        missing = migrate.script(first)
        assert "create table ledger.event (" not in missing
        connection.execute(missing.encode())
        assert migrate.standing_at(connection) == migrate.head()
    assert _snapshot(empty_database.dsn) == _snapshot(database.dsn)


def test_script_for_another_migration_changes_nothing(database: Database):
    """A script that was written for an older ledger would leave the one that it meets half-made."""
    before = _snapshot(database.dsn)
    with psycopg.connect(database.dsn, autocommit=True) as connection, pytest.raises(errors.RaiseException, match="at migration 0001"):
        connection.execute(migrate.script("0001").encode())
    assert _snapshot(database.dsn) == before
    with pytest.raises(Broken, match="9999"):
        migrate.script("9999")


def test_many_databases_of_a_new_cluster_migrate_at_once(tmp_path):
    """Roles belong to the cluster: databases that create them at the same moment meet there, and none fails."""
    server = Postgres(tmp_path, print)
    part = server.part()
    process = spawn(part.prepare(), tmp_path / "log", part.death_signal)
    try:
        assert wait_until(lambda: part.ready().ok, 60, 0.1)
        names = [f"at_once_{n}" for n in range(6)]
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            for name in names:
                connection.execute(f"create database {name}".encode())
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(lambda name: migrate.migrate(server.dsn(name)), names))
        assert len({str(_snapshot(server.dsn(name))) for name in names}) == 1
    finally:
        process.send_signal(part.stop_signal)
        process.wait(30)


@pytest.mark.parametrize(
    ("session", "statement"),
    [
        ("set role trueup_writer", "update ledger.{table} set {column} = default"),
        ("set role trueup_writer", "delete from ledger.{table}"),
        ("set role trueup_writer", "truncate ledger.{table} cascade"),
        ("set role trueup_owner", "truncate ledger.{table} cascade"),
        ("set session_replication_role = origin", "truncate ledger.{table} cascade"),
        ("set session_replication_role = replica", "truncate ledger.{table} cascade"),
    ],
)
def test_no_table_of_the_ledger_can_be_changed(database: Database, session: str, statement: str):
    """Postgres refuses update, delete and truncate on every table of the ledger; empty tables fire no row trigger for the owner."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        tables = connection.execute(
            "select tablename, (select attname from pg_attribute where attrelid = ('ledger.' || tablename)::regclass and attnum = 2)"
            " from pg_tables where schemaname = 'ledger' order by 1"
        ).fetchall()
        assert len(tables) > 15
        connection.execute(session.encode())
        for table, column in tables:
            with pytest.raises((errors.RestrictViolation, errors.InsufficientPrivilege)):
                connection.execute(statement.format(table=table, column=column).encode())


@pytest.mark.parametrize("statement", ["update ledger.account set name = name", "delete from ledger.account where account_id = 12"])
@pytest.mark.parametrize("mode", ["origin", "replica"])
def test_row_triggers_fire_for_owner_and_superuser(database: Database, statement: str, mode: str):
    """The refusal is the database's own: replica mode, which switches ordinary triggers off, does not help."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(f"set session_replication_role = {mode}".encode())
        with pytest.raises(errors.RestrictViolation):
            connection.execute(statement.encode())
        connection.execute("reset session_replication_role")
        connection.execute("set role trueup_owner")
        with pytest.raises(errors.RestrictViolation):
            connection.execute(statement.encode())


def test_table_without_guard_is_named(database: Database):
    """A ledger table whose triggers are missing, off, or only on for ordinary sessions is a hole, and is named."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        guards = queries.load("guards")["unguarded_tables"]
        assert connection.execute(guards).fetchall() == []
        connection.execute("set role trueup_owner")
        connection.execute("create table ledger.unguarded (x int)")
        connection.execute("alter table ledger.event disable trigger refuse_row_change")
        connection.execute("alter table ledger.posting enable trigger refuse_truncate")
        assert [row[0] for row in connection.execute(guards)] == ["event", "posting", "unguarded"]
        # Migrating mends it: what stands after a migration is made anew each time.
        migrate.migrate(database.dsn)
        assert connection.execute(guards).fetchall() == []


def test_migrate_refuses_a_guard_that_guards_nothing(database: Database):
    """A trigger of the right name that does something else is refused, not trusted."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("create function ledger.look_away() returns trigger language plpgsql as 'begin return new; end'")
        connection.execute("drop trigger refuse_row_change on ledger.event")
        connection.execute(
            "create trigger refuse_row_change before update or delete on ledger.event for each row execute function ledger.look_away()"
        )
    with pytest.raises(Broken, match="event"):
        migrate.migrate(database.dsn)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("trueup_writer", "insert into ops.simulated_clock (now) values (clock_timestamp())"),
        ("trueup_writer", "update ops.alembic_version set version_num = '0'"),
        ("trueup_writer", "create table ledger.mine (x int)"),
        ("trueup_writer", "create schema mine"),
        ("trueup_writer", "alter table ledger.event disable trigger all"),
        ("trueup_writer", "drop view finance.proof"),
        ("finance_ro", "select * from ledger.event"),
        ("finance_ro", "select * from ops.source_offset"),
        ("usage_ro", "select * from ledger.event"),
        ("finance_ro", "copy (select 1) to program 'true'"),
        ("finance_ro", "create table public.mine (x int)"),
    ],
)
def test_role_is_refused(database: Database, role: str, statement: str):
    """Each role can do its work and no more."""
    with (
        psycopg.connect(database.dsn_of(role), autocommit=True) as connection,
        pytest.raises((errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)),
    ):
        connection.execute(statement.encode())


def test_database_belongs_to_our_roles_alone(database: Database):
    """Strangers may not connect, and nobody makes temporary tables: such rights are the database's and not copied with it."""
    migrate.migrate(database.dsn)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        public = connection.execute(
            "select has_database_privilege('public', current_database(), p) from unnest(array['connect', 'temporary', 'create']) p"
        ).fetchall()
        assert public == [(False,)] * 3
    with psycopg.connect(database.writer_dsn, autocommit=True) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute("create temporary table mine (x int)")


def test_owner_cannot_log_in(database: Database):
    """The role that owns the books is nobody's to log in with."""
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(database.dsn_of("trueup_owner"))


@pytest.mark.parametrize("role", ["finance_ro", "usage_ro"])
def test_readers_read_finance_views_and_nothing_moves(database: Database, role: str):
    """Readers see every finance view, by its short name, and their sessions are read-only."""
    with psycopg.connect(database.dsn_of(role), autocommit=True) as connection:
        assert connection.execute("show default_transaction_read_only").fetchone() == ("on",)
        views = [row[0] for row in connection.execute("select viewname from pg_views where schemaname = 'finance'")]
        for view in views:
            connection.execute(f'select * from "{view}" limit 1'.encode())


def test_everything_in_ledger_ops_and_finance_says_what_it_is(database: Database):
    """Every table, view and column carries a comment: psql and catalogues of data show them."""
    with psycopg.connect(database.dsn) as connection:
        assert [row[0] for row in connection.execute(queries.load("guards")["uncommented"])] == []


def test_require_current_refuses_another_schema(empty_database: Database, database: Database):
    """Code and schema must be of one age: neither writes by guesswork."""
    with connect(empty_database.dsn, "test") as connection, pytest.raises(Transient, match="missing"):
        migrate.require_current(connection)
    with connect(database.dsn, "test") as connection:
        migrate.require_current(connection)
        connection.execute("update ops.alembic_version set version_num = '9999'")
        with pytest.raises(Transient, match="9999"):
            migrate.require_current(connection)
