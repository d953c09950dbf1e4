"""A ledger to look at, and who stands where dedupe stands."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Database
from tests.makers.capture_topics import Announcer
from trueup.runtime.settings import StreetSettings


@pytest.fixture
def announcer(settings: StreetSettings) -> Announcer:
    """Stands where dedupe stands, with the catalogue applied."""
    made = Announcer(settings)
    made.apply_catalogue()
    return made


@pytest.fixture
def looking(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        yield connection
