"""The door for whose usage goes to whom at Stripe: one mapping a request, said again it changes nothing, a bad one names its faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.conftest import Database
from tests.makers.ingest_room import IngestRoom, bearer, make_key
from trueup.ledger.store import customers
from trueup.ledger.store.connection import connect

Put = Callable[..., requests.Response]


@pytest.fixture
def put(room: IngestRoom, key: str) -> Put:
    """One request to the door, as the holder of a key for everything unless another is given."""

    def put(customer: str, content: Any, with_key: str = key) -> requests.Response:
        url = f"{room.url}/v1/customers/{quote(customer, safe='')}"
        return requests.put(url, json=content, headers=bearer(with_key), timeout=30)

    return put


def mapped(database: Database) -> list[tuple[str, str]]:
    """The timeline of the ledger."""
    with connect(database.writer_dsn, "test") as connection:
        return [(row.customer, row.stripe_customer) for row in customers.timeline(connection)]


def test_a_customer_is_mapped_and_moved(put: Put, database: Database) -> None:
    first, again, moved = (put("the café/1", {"stripe_customer": stripe}) for stripe in ("cus_1", "cus_1", "cus_2"))
    assert [(answer.status_code, answer.json()["new"]) for answer in (first, again, moved)] == [(200, True), (200, False), (200, True)]
    assert moved.json()["customer"] == "the café/1"
    assert mapped(database) == [("the café/1", "cus_1"), ("the café/1", "cus_2")]


BAD: list[tuple[Any, list[str]]] = [
    ({"stripe_customer": "cus_a b"}, ["/stripe_customer"]),
    ({"stripe_customer": "cus_"}, ["/stripe_customer"]),
    ({"stripe_customer": "acct_1"}, ["/stripe_customer"]),
    ({"stripe_customer": 7, "reason": 7}, ["/reason", "/stripe_customer"]),
    ({"stripe_customer": "cus_1", "reason": "r" * 256}, ["/reason"]),
    ({"stripe_customer": "cus_1", "plan": "basic"}, [""]),
    ({}, ["/stripe_customer"]),
    ([], [""]),
]


def test_a_bad_mapping_names_each_fault(put: Put, database: Database) -> None:
    answers = [(content, put("acme", content)) for content, _ in BAD]
    assert {(answer.status_code, answer.headers["Content-Type"]) for _, answer in answers} == {(422, "application/problem+json")}
    assert [(content, sorted({fault["pointer"] for fault in answer.json()["errors"]})) for content, answer in answers] == BAD
    assert mapped(database) == []


def test_a_stripe_customer_belongs_to_one(put: Put, database: Database) -> None:
    assert put("acme", {"stripe_customer": "cus_1"}).status_code == 200
    refused = put("globex", {"stripe_customer": "cus_1"})
    assert (refused.status_code, "acme" in refused.json()["detail"]) == (409, True)
    assert put("cus_1", {"stripe_customer": "cus_2"}).status_code == 409
    assert mapped(database) == [("acme", "cus_1")]


def test_a_key_that_only_writes_events_maps_nobody(put: Put, database: Database) -> None:
    weak = make_key(database.dsn, holder="weak", scopes=("events:write",))
    assert put("acme", {"stripe_customer": "cus_1"}, weak).status_code == 403
    assert put("acme", {"stripe_customer": "cus_1"}, "trueup_no_key").status_code == 401
    assert mapped(database) == []
