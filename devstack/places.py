"""Where the embedded street keeps its parts and its data: the repository's own ignored folder."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
# Below the range from which systems lend ports to outgoing connections: while a killed part is down,
# no client may be lent its port, or the part could not come back on it.
_LOWEST_PORT, _HIGHEST_PORT = 10_240, 32_000


def cache_folder() -> Path:
    """Downloads and running streets; `TRUEUP_FOLDER` moves it."""
    return Path(os.environ.get("TRUEUP_FOLDER", REPOSITORY / ".trueup"))


def free_port(taken: frozenset[int] = frozenset()) -> int:
    """A loopback port that nobody listens on, in the range that no outgoing connection is lent."""
    for _ in range(200):
        port = random.randint(_LOWEST_PORT, _HIGHEST_PORT)
        if port not in taken and is_free(port):
            return port
    raise RuntimeError(f"no free port between {_LOWEST_PORT} and {_HIGHEST_PORT} in 200 tries")


def is_free(port: int) -> bool:
    """True when a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """True when somebody accepts connections on this loopback port: the cheapest question before any other."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def kept_port(folder: Path, name: str) -> int:
    """The port this part had before, so that clients find it again after a restart; a new one where that is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / f"{name}.port"
    if note.exists():
        port = int(note.read_text())
        if is_free(port):
            return port
    others = frozenset(int(other.read_text()) for other in folder.glob("*.port") if other != note)
    port = free_port(others)
    note.write_text(f"{port}\n")
    return port
