"""One room for the tests of a module: it remembers nothing, so they don't disturb each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.makers.ingest_room import IngestRoom, append_catalogue, ingest_room, make_key
from trueup.runtime.settings import StreetSettings


@pytest.fixture
def key(database: Database) -> str:
    """A key that opens every door for every source."""
    return make_key(database.dsn)


@pytest.fixture
def room(settings: StreetSettings, key: str, tmp_path: Path) -> Iterator[IngestRoom]:
    """A room that is ready."""
    append_catalogue(settings)
    with ingest_room(settings, tmp_path) as running:
        yield running
