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

DESCRIBED = (
    "status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,"
    "negative_data_rejection,unsupported_method,ignored_auth"
)
FLUSH = "flushCustomer"


@pytest.fixture
def room(settings: StreetSettings, key: str, tmp_path: Path) -> Iterator[IngestRoom]:
    """A room that waits for no flush: nothing captures here."""
    append_catalogue(settings)
    with ingest_room(settings, tmp_path, TRUEUP_INGEST_FLUSH_SECONDS="0.1") as running:
        yield running


def test_under_fire(room: IngestRoom, key: str, tmp_path: Path) -> None:
    """schemathesis finds no server error, no answer the description does not know, and no way in without a key."""
    told = judged(room, key, tmp_path, f"not_a_server_error,{DESCRIBED}", "--exclude-operation-id", FLUSH)
    print("\n".join(told.splitlines()[-12:]))
    assert room.metric('requests_total{door="events",status="422"}') > 20


def test_a_flush_under_fire(room: IngestRoom, key: str, tmp_path: Path) -> None:
    """Nothing sends here: 409 where nothing is on its way, 503 where usage is; 500 is no answer that the description knows."""
    for customer in ("acme", "globex"):
        event = {
            "id": "1",
            "source": "inference",
            "customer": customer,
            "meter": "input_tokens",
            "value": 1,
            "time": "2026-11-01T00:00:00Z",
        }
        assert requests.post(f"{room.url}/v1/events", json=event, headers=bearer(key), timeout=30).status_code == 202
    judged(room, key, tmp_path, DESCRIBED, "--include-operation-id", FLUSH)
    answered = {status: room.metric(f'requests_total{{door="customers",status="{status}"}}') for status in (401, 409, 500, 503)}
    assert min(answered[401], answered[409], answered[503]) > 0 and answered[500] == 0, str(answered)


def judged(room: IngestRoom, key: str, folder: Path, checks: str, *which: str) -> str:
    """One run of schemathesis that found nothing; what it says."""
    judge = Path(sys.executable).with_name("schemathesis")
    arguments = (
        "run",
        f"{room.url}/openapi.json",
        "--header",
        f"Authorization: {bearer(key)['Authorization']}",
        "--checks",
        checks,
        *which,
    )
    more = ("--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "4", "--no-color", "--request-timeout", "30")
    done = subprocess.run((judge, *arguments, *more), capture_output=True, text=True, timeout=280, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr
    return done.stdout


def test_what_is_described_is_what_there_is(room: IngestRoom, key: str) -> None:
    """Every path of the description has a door, with this method and no other."""
    for path, operations in openapi.document()["paths"].items():
        url = room.url + path.format(source="inference", id="req-1", customer="acme")
        for method in ("get", "put", "post", "patch", "delete"):
            status = requests.request(method, url, headers=bearer(key), timeout=30).status_code
            assert (status == 405) == (method not in operations), (method, path, status)
