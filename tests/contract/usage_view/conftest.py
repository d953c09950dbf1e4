"""A ledger with the usage story in it, and a room that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.makers.room_process import make_key
from tests.makers.true_ledger import TrueLedger, true_ledger
from tests.makers.usage_room import UsageRoom, usage_room
from tests.makers.usage_story import told_story
from trueup.runtime.settings import StreetSettings


@pytest.fixture
def ledger(database: Database) -> Iterator[TrueLedger]:
    with true_ledger(database) as made:
        yield made


@pytest.fixture
def key(database: Database) -> str:
    """A key that may look."""
    return make_key(database.dsn, scopes=("usage:read",), sources=())


@pytest.fixture
def room(settings: StreetSettings, ledger: TrueLedger, database: Database, key: str, tmp_path: Path) -> Iterator[UsageRoom]:
    """A room that is ready, on the story."""
    told_story(ledger)
    with usage_room(settings, database, tmp_path) as running:
        yield running
