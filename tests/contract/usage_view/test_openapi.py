"""The doors described, and asked everything that the description allows and much that it does not, by a judge that others wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import requests

from services.usage_view.app import openapi
from tests.makers.room_process import bearer
from tests.makers.usage_room import UsageRoom

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,"
    "negative_data_rejection,unsupported_method,ignored_auth"
)


def test_under_fire(room: UsageRoom, key: str, tmp_path: Path) -> None:
    """schemathesis finds no server error, no answer the description does not know, and no way in without a key."""
    judge = Path(sys.executable).with_name("schemathesis")
    arguments = ("run", f"{room.url}/openapi.json", "--header", f"Authorization: {bearer(key)['Authorization']}", "--checks", CHECKS)
    more = ("--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "4", "--no-color", "--request-timeout", "30")
    done = subprocess.run((judge, *arguments, *more), capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr
    print("\n".join(done.stdout.splitlines()[-12:]))
    assert room.metric('requests_total{door="customers",status="404"}') > 5
    assert room.metric('requests_total{door="customers",status="200"}') > 5


def test_what_is_described_is_what_there_is(room: UsageRoom, key: str) -> None:
    """Every path of the description has a door, with this method and no other."""
    for path, operations in openapi.document()["paths"].items():
        url = room.url + path.format(customer="acme")
        for method in ("get", "put", "post", "patch", "delete"):
            status = requests.request(method, url, headers=bearer(key), timeout=30).status_code
            assert (status == 405) == (method not in operations), (method, path, status)
