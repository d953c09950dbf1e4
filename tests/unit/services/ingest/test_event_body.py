"""One event: what is taken, and the place of everything that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.event_body import Entry, InForce, read_event
from services.ingest.core.request_body import BATCH, JSON, STRUCTURED, media_type, read_request
from tests.makers.ingest_room import CATALOGUE, an_event
from trueup.contracts import json_text
from trueup.contracts.catalogue import parse
from trueup.contracts.codec import Decoder
from trueup.contracts.events import UsageEvent, check_fields
from trueup.contracts.problems import Refused

NOW_MS = 1_793_600_000_000  # 2026-11-02T06:13:20Z
IN_FORCE = InForce(parse(CATALOGUE), NOW_MS)


def faults(event: object) -> list[tuple[str, str]]:
    """Place and code of every fault, read as from a request."""
    found = read_event(Entry("/0", json_text.read(json.dumps(event).encode()), {}), IN_FORCE)
    return [] if isinstance(found, UsageEvent) else [(fault.pointer, fault.code) for fault in found]


TAKEN: list[tuple[str, dict[str, Any], int]] = [
    ("an integer", {}, 374),
    ("a text", {"value": "374"}, 374),
    ("zero", {"value": 0}, 0),
    ("as many decimals as the scale", {"meter": "hours", "value": "0.125"}, 125),
    ("fewer", {"meter": "hours", "value": "7.5"}, 7_500),
    ("an integer in the unit", {"meter": "hours", "value": 2}, 2_000),
    ("fifteen digits", {"value": 10**15 - 1}, 10**15 - 1),
    ("negative with a reason", {"value": -1, "reason": "failed"}, -1),
    ("nulls for what may be left out", {"reason": None, "corrects": None, "dimensions": None}, 374),
    ("five minutes ahead", {"time": "2026-11-02T06:18:20Z"}, 374),
    ("an offset", {"time": "2026-11-02T08:13:20.999999+02:00"}, 374),
]


@pytest.mark.parametrize(("changed", "quantity"), [pytest.param(changed, quantity, id=name) for name, changed, quantity in TAKEN])
def test_taken(changed: dict[str, Any], quantity: int) -> None:
    """And the quantity is exact."""
    event = read_event(Entry("", an_event(**changed), {}), IN_FORCE)
    assert isinstance(event, UsageEvent), event
    assert event.quantity == quantity
    assert check_fields(event) is None


REFUSED: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("a float", {"value": 1.5}, [("/0/value", "bad_field")]),
    ("a float that is whole", {"value": 1.0}, [("/0/value", "bad_field")]),
    ("a boolean", {"value": True}, [("/0/value", "bad_field")]),
    ("null", {"value": None}, [("/0/value", "bad_field")]),
    ("a list", {"value": [1]}, [("/0/value", "bad_field")]),
    ("no number", {"value": "many"}, [("/0/value", "bad_field")]),
    ("an exponent", {"value": "1e3"}, [("/0/value", "bad_field")]),
    ("blanks", {"value": " 1"}, [("/0/value", "bad_field")]),
    ("other digits", {"value": "١"}, [("/0/value", "bad_field")]),
    ("more decimals than the scale", {"meter": "hours", "value": "0.1250"}, [("/0/value", "bad_field")]),
    ("decimals of a whole unit", {"value": "1.0"}, [("/0/value", "bad_field")]),
    ("sixteen digits", {"value": 10**15}, [("/0/value", "bad_field")]),
    ("sixteen digits after scaling", {"meter": "hours", "value": str(10**12)}, [("/0/value", "bad_field")]),
    ("thousands of digits", {"value": 10**4_000}, [("/0/value", "bad_field")]),
    ("more digits than Python writes", {"meter": "hours", "value": 10**4_299}, [("/0/value", "bad_field")]),
    ("thousands of digits as a text", {"value": "9" * 4_000}, [("/0/value", "bad_field")]),
    ("no id", {"id": ...}, [("/0/id", "bad_field")]),
    ("an empty id", {"id": ""}, [("/0/id", "bad_field")]),
    ("a long id", {"id": "x" * 256}, [("/0/id", "bad_field")]),
    ("a number as id", {"id": 7}, [("/0/id", "bad_field")]),
    ("a float as id", {"id": 7.5}, [("/0/id", "bad_field")]),
    ("NUL", {"customer": "a\0b"}, [("/0/customer", "bad_field")]),
    ("half a character", {"source": "\ud800"}, [("/0/source", "bad_field")]),
    ("another member", {"price": 7}, [("/0/price", "bad_field")]),
    ("a member to be escaped", {"a/b~c": 7}, [("/0/a~1b~0c", "bad_field")]),
    ("a member that is half a character", {"\ud800": 7}, [("/0", "bad_field")]),
    ("an unknown meter", {"meter": "nonsense"}, [("/0/meter", "unknown_meter")]),
    ("negative without a reason", {"value": -1}, [("/0/reason", "negative_without_reason")]),
    ("negative with a blank reason", {"value": "-1", "reason": " "}, [("/0/reason", "negative_without_reason")]),
    ("takes back, and is positive", {"corrects": "req-0"}, [("/0/corrects", "bad_field")]),
    ("reason is a number", {"reason": 1}, [("/0/reason", "bad_field")]),
    ("dimensions are a list", {"dimensions": []}, [("/0/dimensions", "bad_field")]),
    ("a dimension is a number", {"dimensions": {"a": 1}}, [("/0/dimensions/a", "bad_field")]),
    ("a dimension has NUL", {"dimensions": {"a": "\0"}}, [("/0/dimensions/a", "bad_field")]),
    ("no offset", {"time": "2026-11-01T09:30:00"}, [("/0/time", "bad_field")]),
    ("a date", {"time": "2026-11-01"}, [("/0/time", "bad_field")]),
    ("no such day", {"time": "2026-02-30T00:00:00Z"}, [("/0/time", "bad_field")]),
    ("a leap second", {"time": "2026-06-30T23:59:60Z"}, [("/0/time", "bad_field")]),
    ("milliseconds as a number", {"time": 1_793_600_000_000}, [("/0/time", "bad_field")]),
    ("before 1970", {"time": "1969-12-31T23:59:59Z"}, [("/0/time", "bad_field")]),
    ("before the year 1", {"time": "0001-01-01T00:00:00+05:00"}, [("/0/time", "bad_field")]),
    ("after the year 9999", {"time": "9999-12-31T23:59:59-05:00"}, [("/0/time", "time_in_future")]),
    ("more than five minutes ahead", {"time": "2026-11-02T06:18:20.001Z"}, [("/0/time", "time_in_future")]),
    ("several", {"value": 1.5, "id": "", "time": "?"}, [("/0/id", "bad_field"), ("/0/value", "bad_field"), ("/0/time", "bad_field")]),
]


@pytest.mark.parametrize(("changed", "wanted"), [pytest.param(changed, wanted, id=name) for name, changed, wanted in REFUSED])
def test_refused(changed: dict[str, Any], wanted: list[tuple[str, str]]) -> None:
    """Each fault once, at its place."""
    assert faults(an_event(**changed)) == wanted


@pytest.mark.parametrize("nothing", [None, 7, "text", [], [[]], True])
def test_no_object(nothing: object) -> None:
    """An event is an object."""
    assert faults(nothing) == [("/0", "bad_field")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
MEMBERS = ("id", "source", "customer", "meter", "value", "time", "reason", "corrects", "dimensions")


@given(st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=5), json_values, max_size=4))
def test_any_members(changed: dict[str, Any]) -> None:
    """Whatever is said, the answer is an event that can be stored and billed, or faults; and what is sent is read the same by dedupe."""
    body = json.dumps(an_event() | changed).encode()
    try:
        (ready,) = read_request(JSON, {}, body, IN_FORCE)
    except Refused as refusal:
        assert refusal.problem.status in (400, 422)
        json.loads(refusal.problem.body("urn:uuid:0"))
        return
    event = Decoder().decode(ready.value)
    assert isinstance(event, UsageEvent)
    assert check_fields(event) is None


@given(st.sampled_from((JSON, STRUCTURED, BATCH)), json_values)
def test_any_body(kind: str, content: object) -> None:
    """A refusal of the client's, never an exception of ours."""
    try:
        read_request(kind, {}, json.dumps(content).encode(), IN_FORCE)
    except Refused as refusal:
        assert refusal.problem.status in (400, 422)


@given(st.sampled_from((JSON, STRUCTURED, BATCH)), st.binary(max_size=100))
def test_any_bytes(kind: str, body: bytes) -> None:
    """Bytes from nowhere."""
    try:
        read_request(kind, {"ce-specversion": "1.0"}, body, IN_FORCE)
    except Refused as refusal:
        assert refusal.problem.status in (400, 422)


def test_a_thousand_and_one() -> None:
    """The limit itself is taken."""
    body = json.dumps([an_event(str(number)) for number in range(1_000)]).encode()
    assert len(read_request(JSON, {}, body, IN_FORCE)) == 1_000
    with pytest.raises(Refused) as refused:
        read_request(JSON, {}, body[:-1] + b"," + json.dumps(an_event()).encode() + b"]", IN_FORCE)
    assert refused.value.problem.status == 422
    assert "1001" in refused.value.problem.faults[0].detail


def test_an_event_over_64_kib() -> None:
    """The dedupe room would refuse it: so does the door."""
    with pytest.raises(Refused) as refused:
        read_request(JSON, {}, json.dumps(an_event(dimensions={"pad": "x" * 65_536})).encode(), IN_FORCE)
    assert [(fault.pointer, fault.code) for fault in refused.value.problem.faults] == [("", "too_large")]


@pytest.mark.parametrize(
    "kind", ["application/json", "APPLICATION/JSON", "application/json; charset=UTF-8", 'application/cloudevents+json;charset="utf-8"']
)
def test_content_types(kind: str) -> None:
    """As HTTP lets them be written."""
    assert media_type({"content-type": kind}) == kind.split(";")[0].lower()


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/json"}, {"content-type": JSON, "content-encoding": "gzip"}])
def test_other_content_types(headers: dict[str, str]) -> None:
    """Nothing is guessed, nothing unpacked."""
    with pytest.raises(Refused) as refused:
        media_type(headers)
    assert refused.value.problem.status == 415


ENVELOPE = {"specversion": "1.0", "type": "usage", "id": "req-1", "source": "inference"}
ENVELOPES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("all in data", {"data": an_event()}, []),
    ("data says another id", {"data": an_event(id="req-2")}, ["/data/id"]),
    ("data says another source", {"data": an_event(source="batch")}, ["/data/source"]),
    ("data's own time holds", {"time": "2026-11-01T10:00:00Z", "data": an_event()}, []),
    ("no data", {}, ["/data"]),
    ("data as text", {"data": "{}"}, ["/data"]),
    ("base64", {"data_base64": "e30="}, ["/data_base64"]),
    ("another version", {"specversion": "0.3", "data": an_event()}, ["/specversion"]),
    ("no type", {"type": "", "data": an_event()}, ["/type"]),
    ("other content", {"datacontenttype": "text/xml", "data": an_event()}, ["/datacontenttype"]),
    ("the envelope's time is none", {"time": "noon", "data": an_event(time=...)}, ["/time"]),
    ("no subject, no customer", {"data": an_event(customer=...)}, ["/data/customer"]),
    ("extensions are let be", {"traceparent": "00-1", "data": an_event()}, []),
]


@pytest.mark.parametrize(("changed", "wanted"), [pytest.param(changed, wanted, id=name) for name, changed, wanted in ENVELOPES])
def test_envelopes(changed: dict[str, Any], wanted: list[str]) -> None:
    """The envelope's identity is the event's."""
    body = json.dumps(ENVELOPE | changed).encode()
    try:
        found = [ready.source for ready in read_request(STRUCTURED, {}, body, IN_FORCE)]
    except Refused as refusal:
        assert [fault.pointer for fault in refusal.problem.faults] == wanted
    else:
        assert (found, wanted) == (["inference"], [])


def test_binary_mode_decodes_its_headers() -> None:
    """As CloudEvents' HTTP binding says: percent-encoded."""
    headers = {"ce-specversion": "1.0", "ce-type": "usage", "ce-id": "req%201", "ce-source": "%2Finference", "ce-subject": "caf%C3%A9"}
    body = json.dumps(an_event(id=..., source=..., customer=...)).encode()
    (ready,) = read_request(JSON, headers, body, IN_FORCE)
    event = Decoder().decode(ready.value)
    assert isinstance(event, UsageEvent)
    assert (event.id, event.source, event.customer) == ("req 1", "/inference", "café")


HEADERS: tuple[tuple[str, str, str | None], ...] = (
    ("quoted", '"req 1"', "req 1"),
    ("quoted, with a quote inside", r'"req \"1\""', 'req "1"'),
    ("unquoted before it is decoded", '"req%201"', "req 1"),
    ("decoded once", "req%2520", "req%20"),
    ("an encoded quote is part of it", "%22req%22", '"req"'),
    ("a quote inside", 'req"1"', 'req"1"'),
    ("bytes that are not UTF-8", "a%FF", None),
    ("half a character", "a%C3", None),
    ("a stray percent sign", "b%ZZ", None),
    ("a percent sign at the end", "b%", None),
    ("not ASCII", "caf\u00e9", None),
    ("a quote that does not end", '"req', None),
    ("an escape that does not end", '"req\\"', None),
)


@pytest.mark.parametrize(("spelt", "wanted"), [pytest.param(spelt, wanted, id=name) for name, spelt, wanted in HEADERS])
def test_a_header_is_one_value_or_refused(spelt: str, wanted: str | None) -> None:
    """Two ids must not become one, nor one two: what cannot be decoded for certain is not guessed (HTTP binding, 3.1.3.2)."""
    headers = {"ce-specversion": "1.0", "ce-type": "usage", "ce-id": spelt, "ce-source": "inference"}
    body = json.dumps(an_event(id=..., source=...)).encode()
    if wanted is None:
        with pytest.raises(Refused) as refusal:
            read_request(JSON, headers, body, IN_FORCE)
        assert "header ce-id: " in refusal.value.problem.faults[0].detail
    else:
        (ready,) = read_request(JSON, headers, body, IN_FORCE)
        event = Decoder().decode(ready.value)
        assert isinstance(event, UsageEvent)
        assert event.id == wanted
