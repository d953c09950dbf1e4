"""The doors described, and asked everything that the description allows and much that it does not, by a judge that others wrote."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from services.ingest.app import openapi
from tests.makers.ingest_room import IngestRoom, append_catalogue, bearer, ingest_room
from trueup.runtime.settings import StreetSettings

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,"
    "negative_data_rejection,unsupported_method,ignored_auth"
)


@pytest.fixture
def room(settings: StreetSettings, key: str, tmp_path: Path) -> Iterator[IngestRoom]:
    """A room that waits for no flush: nothing captures here."""
    append_catalogue(settings)
    with ingest_room(settings, tmp_path, TRUEUP_INGEST_FLUSH_SECONDS="0.1") as running:
        yield running


def test_under_fire(room: IngestRoom, key: str, tmp_path: Path) -> None:
    """schemathesis finds no server error, no answer the description does not know, and no way in without a key."""
    judge = Path(sys.executable).with_name("schemathesis")
    arguments = ("run", f"{room.url}/openapi.json", "--header", f"Authorization: {bearer(key)['Authorization']}", "--checks", CHECKS)
    # A flush is confirmed by rooms that do not run here; without them its answer is rightly 503 and proves nothing.
    arguments += ("--exclude-operation-id", "flushCustomer")
    more = ("--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "4", "--no-color", "--request-timeout", "30")
    done = subprocess.run((judge, *arguments, *more), capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr
    print("\n".join(done.stdout.splitlines()[-12:]))
    assert room.metric('requests_total{door="events",status="422"}') > 20


def test_what_is_described_is_what_there_is(room: IngestRoom, key: str) -> None:
    """Every path of the description has a door, with this method and no other."""
    for path, operations in openapi.document()["paths"].items():
        url = room.url + path.format(source="inference", id="req-1", customer="acme")
        for method in ("get", "put", "post", "patch", "delete"):
            status = requests.request(method, url, headers=bearer(key), timeout=30).status_code
            assert (status == 405) == (method not in operations), (method, path, status)
