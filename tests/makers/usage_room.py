"""A real usage view as a process, on a ledger with one customer's usage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack.places import LOOPBACK, free_port
from tests.conftest import Database
from tests.makers.room_process import RoomProcess
from trueup.runtime.settings import StreetSettings

SECRET, OLD_SECRET = "n" * 32, "o" * 32


class UsageRoom(RoomProcess):
    """One room, as the role that may read and nothing else."""

    def __init__(self, settings: StreetSettings, database: Database, folder: Path, **environment: str) -> None:
        self.port = free_port()
        own = {
            "TRUEUP_POSTGRES_DSN": database.dsn_of("usage_ro"),
            "TRUEUP_USAGE_LINK_SECRET": f"{SECRET},{OLD_SECRET}",
            "TRUEUP_USAGE_PORT": str(self.port),
        }
        super().__init__("usage-view", settings, folder, {**own, **environment})

    @property
    def url(self) -> str:
        """The doors."""
        return f"http://{LOOPBACK}:{self.port}"


@contextmanager
def usage_room(settings: StreetSettings, database: Database, folder: Path, **environment: str) -> Iterator[UsageRoom]:
    """A room that answers; its end must be a clean one."""
    room = UsageRoom(settings, database, folder, **environment)
    with room.running():
        yield room
