"""What a request to the events door holds: which of the forms it has, and the events in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.ingest.core import cloudevents
from services.ingest.core.event_body import BAD_FIELD, Entry, InForce, read_event
from trueup.contracts import json_text
from trueup.contracts.codec import MAX_RECORD_BYTES, encode_event
from trueup.contracts.events import RefusalReason
from trueup.contracts.problems import Fault, unprocessable, unsupported

MOST_EVENTS = 1_000
JSON = "application/json"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MEDIA_TYPES = (JSON, STRUCTURED, BATCH)


@dataclass(frozen=True, slots=True)
class Ready:
    """An event that may be sent: its key, its bytes, and for whom the key must be allowed to speak."""

    pointer: str
    source: str
    key: bytes
    value: bytes


def media_type(headers: Mapping[str, str], taken: Sequence[str] = MEDIA_TYPES) -> str:
    """The content type of a request; Refused when it is none of these, or the body is encoded."""
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise unsupported("an encoded body is not taken: send it as it is")
    name, _, parameters = headers.get("content-type", "").partition(";")
    found = name.strip().lower()
    if found not in taken:
        raise unsupported(f"the content type is one of {', '.join(taken)}")
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise unsupported("JSON is UTF-8")
    return found


def read_request(kind: str, headers: Mapping[str, str], body: bytes, in_force: InForce) -> tuple[Ready, ...]:
    """Every event of a request, ready to be sent; Refused with every fault of every event when one of them is not right."""
    ready: list[Ready] = []
    faults: list[Fault] = []
    entries = _entries(kind, headers, json_text.read(body))
    for entry in entries:
        if not isinstance(entry, Entry):
            faults += entry
            continue
        event = read_event(entry, in_force)
        if isinstance(event, tuple):
            faults += event
            continue
        value = encode_event(event)
        if len(value) > MAX_RECORD_BYTES:
            detail = f"the event takes {len(value)} bytes; {MAX_RECORD_BYTES} are allowed"
            faults.append(Fault(entry.pointer, RefusalReason.TOO_LARGE.value, detail))
        ready.append(Ready(entry.place("source"), event.source, event.customer.encode(), value))
    if faults:
        raise unprocessable(faults, len(entries))
    return tuple(ready)


def _entries(kind: str, headers: Mapping[str, str], content: object) -> list[Entry | tuple[Fault, ...]]:
    if kind == STRUCTURED:
        return [cloudevents.open_structured(content, "")]
    if kind == JSON and f"{cloudevents.HEADER_PREFIX}specversion" in headers:
        return [cloudevents.open_binary(headers, content)]
    if kind == JSON and not isinstance(content, list):
        return [Entry("", content, {})]
    if not isinstance(content, list):
        return [(Fault("", BAD_FIELD, "a batch is a JSON array"),)]
    if len(content) > MOST_EVENTS:
        return [(Fault("", RefusalReason.TOO_LARGE.value, f"{len(content)} events; at most {MOST_EVENTS} are taken in one request"),)]
    if kind == BATCH:
        return [cloudevents.open_structured(item, f"/{at}") for at, item in enumerate(content)]
    return [Entry(f"/{at}", item, {}) for at, item in enumerate(content)]
