"""A key made and taken back by the command, while the room runs."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import requests

from tests.conftest import Database
from tests.makers.ingest_room import IngestRoom, an_event, bearer
from tests.makers.street_of_test import call
from trueup.runtime.settings import StreetSettings


def test_one_key_follows_the_other_without_a_gap(room: IngestRoom, database: Database, settings: StreetSettings) -> None:
    """Create, hand out, revoke: the new one opens at its first use, the old one opens nothing two seconds later, a third waits."""
    environment = {**os.environ, "TRUEUP_POSTGRES_DSN": database.dsn, "TRUEUP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap}

    def keys(*arguments: str, answer: int = 0) -> Any:
        done = call(environment, "keys", *arguments, "--json")
        assert done.returncode == answer, done.stderr
        return json.loads(done.stdout) if answer == 0 else None

    def status(key: str) -> int:
        return requests.post(f"{room.url}/v1/events", json=an_event(), headers=bearer(key), timeout=30).status_code

    old = keys("create", "batch team", "--source", "inference", "--reason", "first")
    assert (old["scopes"], old["sources"], status(old["key"])) == (["events:write"], ["inference"], 202)
    new = keys("create", "batch team", "--source", "inference", "--reason", "rotation")
    assert [status(new["key"]), status(old["key"])] == [202, 202]
    keys("create", "batch team", "--source", "inference", "--reason", "one too many", answer=1)
    assert keys("revoke", old["key_id"], "--reason", "rotation", "--yes") == {"key_id": old["key_id"], "new": True}
    give_up_at = time.monotonic() + 30
    while status(old["key"]) != 401:
        assert time.monotonic() < give_up_at
    assert status(new["key"]) == 202
    listed = {row["key_id"]: row["revoked_reason"] for row in keys("list") if row["holder"] == "batch team"}
    assert listed == {old["key_id"]: "rotation", new["key_id"]: None}
    assert old["key"] not in call(environment, "keys", "list", "--json").stdout
