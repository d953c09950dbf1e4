"""One street for the tests of this folder: it is brought up once and its clock only goes forward."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.makers.street_of_test import StreetOfTest, call


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreetOfTest]:
    """Up with the example catalogue and a simulated clock; one more customer is mapped by CSV."""
    yield from brought_up(tmp_path_factory.mktemp("street"), "simulated")


@pytest.fixture(scope="module")
def system_street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreetOfTest]:
    """The same under the machine's clock."""
    yield from brought_up(tmp_path_factory.mktemp("system-street"), "system")


def brought_up(folder: Path, clock: str) -> Iterator[StreetOfTest]:
    """A street until the caller is done with it."""
    environment = {**os.environ, "TRUEUP_DATA_DIR": str(folder / "state")}
    up = call(environment, "up", "--clock", clock, "--keep", str(folder / "data"), "--json")
    try:
        assert up.returncode == 0, up.stderr
        yield StreetOfTest(environment, json.loads(up.stdout))
    finally:
        down = call(environment, "down")
        assert down.returncode == 0, down.stderr
