"""The events door on a real broker: what is taken is on the topic, what is refused is not."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.conftest import Database
from tests.makers.ingest_room import IngestRoom, an_event, bearer, make_key, records
from trueup.contracts import keys
from trueup.contracts.codec import Decoder
from trueup.contracts.events import UsageEvent
from trueup.contracts.topics import TopicNames
from trueup.runtime.settings import StreetSettings

JSON = "application/json"


def post(room: IngestRoom, key: str, content: Any, kind: str = JSON, **headers: str) -> requests.Response:
    """One request to the door."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return requests.post(f"{room.url}/v1/events", data=body, headers={**bearer(key), "Content-Type": kind, **headers}, timeout=30)


def on_topic(settings: StreetSettings) -> list[UsageEvent]:
    """Every event on the usage topic, each in the partition of its customer."""
    found = []
    for message in records(settings, TopicNames(settings.topic_prefix).usage_events):
        event = Decoder().decode(message.value())
        assert isinstance(event, UsageEvent)
        assert message.key() == event.customer.encode()
        assert message.partition() == keys.partition_of(event.customer.encode(), settings.partitions)
        found.append(event)
    return sorted(found, key=lambda event: event.id)


def test_one_event_and_many(room: IngestRoom, key: str, settings: StreetSettings) -> None:
    """Accepted means that the topic has it; quantities are in the meter's smallest unit."""
    assert post(room, key, an_event()).json() == {"accepted": 1}
    many = [an_event(f"many-{number:04}", customer=f"customer {number % 7}", meter="hours", value="1.25") for number in range(1_000)]
    answer = post(room, key, many)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1_000})
    refund = an_event("refund:req-1", value="-374", reason="failed_run", corrects="req-1", dimensions={"model": "large"})
    assert post(room, key, [refund]).status_code == 202
    assert post(room, key, []).json() == {"accepted": 0}
    found = on_topic(settings)
    assert len(found) == 1_002
    assert {event.quantity for event in found if event.id.startswith("many")} == {1_250}
    assert next(event for event in found if event.id == "refund:req-1") == UsageEvent(
        "refund:req-1", "inference", 1_793_525_400_000, "input_tokens", "acme", -374, "failed_run", "req-1", {"model": "large"}
    )
    assert room.metric('events_total{outcome="accepted",room="ingest"}') == 1_002


def test_all_of_a_request_or_none(room: IngestRoom, key: str, settings: StreetSettings) -> None:
    """Two bad events among a thousand: both are named by their place, and none of the others is sent."""
    many = [an_event(f"r-{number}") for number in range(1_000)]
    many[7] |= {"value": 1.5}
    many[500] |= {"meter": "nonsense"}
    answer = post(room, key, many)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
        ("/7/value", "bad_field"),
        ("/500/meter", "unknown_meter"),
    ]
    assert on_topic(settings) == []


def test_the_four_forms_say_the_same(room: IngestRoom, key: str, settings: StreetSettings) -> None:
    """Plain, structured, batch, binary: one fact, the same bytes."""
    envelope = {"specversion": "1.0", "type": "usage", "id": "req-1", "source": "inference", "subject": "acme"}
    short = {"meter": "input_tokens", "value": 374, "time": "2026-11-01T09:30:00Z"}
    forms = [
        post(room, key, an_event()),
        post(room, key, {**envelope, "data": an_event()}, "application/cloudevents+json; charset=utf-8"),
        post(room, key, [{**envelope, "data": short}], "application/cloudevents-batch+json"),
        post(room, key, short, **{f"ce-{name}": value for name, value in envelope.items()}),
    ]
    assert [answer.status_code for answer in forms] == [202] * 4
    found = records(settings, TopicNames(settings.topic_prefix).usage_events)
    assert len(found) == 4
    assert len({message.value() for message in found}) == 1


def test_keys(room: IngestRoom, key: str, database: Database, settings: StreetSettings) -> None:
    """Who is nobody, who may not write, and who may not write as this source; a key that was made a moment ago opens at once."""
    assert requests.post(f"{room.url}/v1/events", json=an_event(), timeout=30).status_code == 401
    assert requests.post(f"{room.url}/v1/events", json=an_event(), timeout=30).headers["WWW-Authenticate"].startswith("Bearer")
    assert post(room, key[:-1] + ("0" if key[-1] != "0" else "1"), an_event()).status_code == 401
    assert post(room, "trueup_0123456789ab_" + "0" * 64, an_event()).status_code == 401
    reader = make_key(database.dsn, "reader", ["usage:read"], ["*"])
    assert post(room, reader, an_event()).status_code == 403
    narrow = make_key(database.dsn, "narrow", ["events:write"], ["inference", "batch"])
    assert post(room, narrow, an_event()).status_code == 202
    answer = post(room, narrow, [an_event("a"), an_event("b", source="other")])
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (403, "/1/source")
    assert [event.id for event in on_topic(settings)] == ["req-1"]


def test_what_the_router_refuses_is_a_problem_too(room: IngestRoom) -> None:
    """No such door, no such method: the same kind of answer."""
    for method, path, status in (("GET", "/v1/events", 405), ("GET", "/nothing", 404), ("DELETE", "/webhooks/stripe", 405)):
        answer = requests.request(method, room.url + path, timeout=30)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), path


BODIES = [
    (b"", JSON, 400),
    (b"{", JSON, 400),
    (b'{"id": "a", "id": "b"}', JSON, 400),
    (b"\xff", JSON, 400),
    (b"[" * 100_000, JSON, 400),
    (b"[NaN]", JSON, 400),
    (b"1" * 10_000, JSON, 422),
    (b"null", JSON, 422),
    (b"[1]", JSON, 422),
    (b"{}", "application/cloudevents-batch+json", 422),
    (b"[]", "application/cloudevents+json", 422),
    (b"{}", "text/plain", 415),
    (b"{}", "application/json; charset=utf-16", 415),
]


def test_bodies_that_are_none(room: IngestRoom, key: str) -> None:
    """Each is the client's fault, never ours."""
    found = [(body, kind, post(room, key, body, kind).status_code) for body, kind, _ in BODIES]
    assert found == BODIES
    assert post(room, key, b"{}", **{"Content-Encoding": "gzip"}).status_code == 415
