"""One street for the tests of this folder: it is brought up once and its clock only goes forward."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.makers.street_of_test import StreetOfTest, call


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreetOfTest]:
    """Up with the example catalogue and a simulated clock; one more customer is mapped by CSV."""
    folder = tmp_path_factory.mktemp("street")
    environment = {**os.environ, "TRUEUP_DATA_DIR": str(folder / "state")}
    up = call(environment, "up", "--clock", "simulated", "--keep", str(folder / "data"), "--json")
    try:
        assert up.returncode == 0, up.stderr
        yield StreetOfTest(environment, json.loads(up.stdout))
    finally:
        down = call(environment, "down")
        assert down.returncode == 0, down.stderr
