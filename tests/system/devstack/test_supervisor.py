"""Parts that die are started again, parts that halt stay down with their reason, and nothing outlives its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.places import LOOPBACK, free_port, is_free, kept_port
from devstack.process import Command, Footprint, Part, started_at, wait_until
from devstack.rooms import answers_ready
from devstack.supervisor import StartFailed, Supervisor

# A room as small as can be: a real process that answers, and ends with the code it is told on /end/CODE.
ROOM = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Room(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/end/"):
            sys.stderr.write('{"message": "sums differ by 3"}\\n')
            sys.stderr.flush()
            os._exit(int(self.path[5:]))
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"ok": true, "why": "well"}')
    def log_message(self, *a): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Room).serve_forever()
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, print)
    yield supervisor
    supervisor.stop_all()


def small_room(data: Path, name: str = "dedupe-1") -> Part:
    port = kept_port(data, name)
    command = Command((sys.executable, "-c", ROOM, str(port)))
    return Part(name, f"http://{LOOPBACK}:{port}", lambda: command, answers_ready(f"http://{LOOPBACK}:{port}"), room=True)


def end(part: Part, code: int) -> None:
    import requests

    with pytest.raises(requests.ConnectionError):
        requests.get(f"{part.address}/end/{code}", timeout=5)


def test_part_that_dies_is_started_again_at_its_old_address(supervisor: Supervisor, tmp_path: Path) -> None:
    """Whoever talked to it finds it again."""
    part = small_room(tmp_path)
    supervisor.start([part])
    supervisor.wait_ready(["dedupe-1"], 20)
    first = supervisor.kill("dedupe-1", signal.SIGKILL)
    assert wait_until(lambda: supervisor.status_of("dedupe-1").restarts == 1, 10)
    supervisor.wait_ready(["dedupe-1"], 20)
    status = supervisor.status_of("dedupe-1")
    assert status.pid not in {None, first} and status.address == part.address


def test_part_that_halts_stays_down_and_says_why(supervisor: Supervisor, tmp_path: Path) -> None:
    """Exit code 3 is a broken invariant; the reason is the message of the last log line."""
    part = small_room(tmp_path)
    supervisor.start([part])
    supervisor.wait_ready(["dedupe-1"], 20)
    end(part, 3)
    assert wait_until(lambda: bool(supervisor.halted()), 10)
    status = supervisor.status_of("dedupe-1")
    assert (status.pid, status.healthy, status.restarts, status.why) == (None, False, 0, "sums differ by 3")
    with pytest.raises(StartFailed, match="sums differ by 3"):
        supervisor.wait_ready(["dedupe-1"], 20)
    supervisor.start_again("dedupe-1")
    supervisor.wait_ready(["dedupe-1"], 20)


def test_crash_is_not_a_halt(supervisor: Supervisor, tmp_path: Path) -> None:
    """Every other end is started again, also a clean one that nobody asked for."""
    part = small_room(tmp_path)
    supervisor.start([part])
    for restarts, code in enumerate((1, 0), start=1):
        supervisor.wait_ready(["dedupe-1"], 20)
        end(part, code)
        assert wait_until(lambda: supervisor.status_of("dedupe-1").restarts == restarts, 10)  # noqa: B023


def test_part_that_never_gets_ready_fails_the_start_with_its_last_words(supervisor: Supervisor, tmp_path: Path) -> None:
    """A start that hangs in silence helps nobody."""
    command = Command((sys.executable, "-c", "raise SystemExit('no such broker')"))
    supervisor.start([Part("dedupe-1", "http://127.0.0.1:1", lambda: command, answers_ready("http://127.0.0.1:1"), room=True)])
    with pytest.raises(StartFailed, match="no such broker"):
        supervisor.wait_ready(["dedupe-1"], 2)


def test_stopped_part_does_not_come_back(supervisor: Supervisor, tmp_path: Path) -> None:
    """Also one that hangs: it is asked, then killed."""
    supervisor.start([small_room(tmp_path)])
    supervisor.wait_ready(["dedupe-1"], 20)
    pid = supervisor.kill("dedupe-1", signal.SIGSTOP)
    assert wait_until(lambda: ") T " in Path(f"/proc/{pid}/stat").read_text(), 10)
    assert supervisor.stop("dedupe-1") == -signal.SIGTERM
    assert supervisor.status_of("dedupe-1").why == "stopped"


DYING_PARENT = """
import os, sys, time
from pathlib import Path
from devstack.process import Command, Footprint, spawn
child = spawn(Command((sys.executable, "-c", "import time; time.sleep(600)")), Path(sys.argv[1]) / "log")
Footprint(Path(sys.argv[1]) / "pids" / "child").write(child.pid)
sys.stdout.write(f"{child.pid}\\n"); sys.stdout.flush()
time.sleep(600)
"""


def test_part_dies_with_a_killed_supervisor(tmp_path: Path) -> None:
    """No orphan server keeps a port from the next start."""
    parent = subprocess.Popen((sys.executable, "-c", DYING_PARENT, str(tmp_path)), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    # Until it has become its program it would notice the death by itself.
    assert wait_until(
        lambda: b"sleep" in Path(f"/proc/{child}/cmdline").read_bytes() and b"tether" not in Path(f"/proc/{child}/cmdline").read_bytes(), 10
    )
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_until(lambda: started_at(child) is None, 10)


def test_what_outlived_its_supervisor_is_swept_up(tmp_path: Path) -> None:
    """Where the kernel cannot help, the next start does; a number that was lent again is left alone."""
    orphan = subprocess.Popen((sys.executable, "-c", "import time; time.sleep(600)"))
    Footprint(tmp_path / "pids" / "kafka").write(orphan.pid)
    (tmp_path / "pids" / "postgres").write_text(f"{os.getpid()} 1\n")  # our own number, but another beginning
    Supervisor(tmp_path, print).sweep()
    assert orphan.wait(10) == -signal.SIGKILL
    assert not list((tmp_path / "pids").iterdir())


def test_ports_are_kept_and_outside_the_lent_range(tmp_path: Path) -> None:
    """A port that the system lends to clients could be taken while its server is down."""
    lowest_lent = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    port = kept_port(tmp_path, "kafka")
    assert port < lowest_lent and is_free(port)
    assert kept_port(tmp_path, "kafka") == port != kept_port(tmp_path, "postgres")
    assert free_port(frozenset({port})) != port
