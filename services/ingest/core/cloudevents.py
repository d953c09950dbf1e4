"""CloudEvents 1.0 around an event: structured, batched, or with the attributes in HTTP headers.

`data` holds the fact itself. The envelope's id and source are its identity too, so they must not say something else; what `data` leaves
out of id, source, time and customer is taken from the envelope's id, source, time and subject.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from services.ingest.core.event_body import BAD_FIELD, Entry
from trueup.contracts.problems import Fault, step

SPECVERSION = "1.0"
HEADER_PREFIX = "ce-"
_IDENTITY = ("id", "source")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPED = re.compile(r"\\(.)")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FILLS = {"id": "id", "source": "source", "time": "time", "customer": "subject"}


def open_structured(envelope: object, pointer: str) -> Entry | tuple[Fault, ...]:
    """The event inside a structured envelope."""
    if not isinstance(envelope, dict):
        return (Fault(pointer, BAD_FIELD, "a CloudEvent is a JSON object"),)
    faults = [fault for name, why in _envelope_faults(envelope) for fault in (Fault(step(pointer, name), BAD_FIELD, why),)]
    if "data_base64" in envelope:
        faults.append(Fault(step(pointer, "data_base64"), BAD_FIELD, "the event stands in data, as JSON"))
    elif not isinstance(envelope.get("data"), dict):
        faults.append(Fault(step(pointer, "data"), BAD_FIELD, "data is the event: a JSON object"))
    content_type = envelope.get("datacontenttype")
    if content_type is not None and not _is_json(content_type):
        faults.append(Fault(step(pointer, "datacontenttype"), BAD_FIELD, "data is JSON"))
    if faults:
        return tuple(faults)
    return _merged(envelope, envelope["data"], step(pointer, "data"), {name: step(pointer, name) for name in _FILLS.values()})


def open_binary(headers: Mapping[str, str], data: object) -> Entry | tuple[Fault, ...]:
    """The event of a request whose headers are the envelope."""
    envelope, faults = {}, []
    for name, value in headers.items():
        if name.startswith(HEADER_PREFIX):
            try:
                envelope[name[len(HEADER_PREFIX) :]] = _header_value(value)
            except ValueError as error:
                faults.append(Fault("", BAD_FIELD, f"header {name}: {error}"))
    if faults:
        return tuple(faults)
    faults = [Fault("", BAD_FIELD, f"header ce-{name}: {why}") for name, why in _envelope_faults(envelope)]
    if not isinstance(data, dict):
        faults.append(Fault("", BAD_FIELD, "the body is the event: a JSON object"))
    if faults or not isinstance(data, dict):
        return tuple(faults)
    return _merged(envelope, data, "", {})


def _header_value(value: str) -> str:
    """An attribute as its header spells it: unquoted first, then percent-decoded once (CloudEvents HTTP binding 1.0.2, 3.1.3.2).

    Raises ValueError for what decodes to nothing certain: guessing would make one event of two, or two of one.
    """
    if not value.isascii():
        raise ValueError("characters outside ASCII are written percent-encoded, as UTF-8")
    if value.startswith('"'):
        if not _QUOTED.fullmatch(value):
            raise ValueError("a value in double quotes ends with one, and has a backslash before those inside")
        value = _ESCAPED.sub(r"\1", value[1:-1])
    if _STRAY_PERCENT.search(value):
        raise ValueError("a percent sign is followed by two hexadecimal digits; itself it is written %25")
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the percent-encoded bytes are not UTF-8") from None


def _envelope_faults(envelope: Mapping[str, Any]) -> list[tuple[str, str]]:
    faults = []
    if envelope.get("specversion") != SPECVERSION:
        faults.append(("specversion", f"must be {SPECVERSION}"))
    faults += [(name, "must be a string that is not empty") for name in ("id", "source", "type") if not _is_said(envelope.get(name))]
    return faults


def _merged(envelope: Mapping[str, Any], data: dict[str, Any], pointer: str, places: Mapping[str, str]) -> Entry | tuple[Fault, ...]:
    unlike = [name for name in _IDENTITY if name in data and data[name] != envelope[name]]
    if unlike:
        return tuple([Fault(step(pointer, name), BAD_FIELD, f"{name} is not the envelope's: which one is meant?") for name in unlike])
    taken = {name: envelope[attribute] for name, attribute in _FILLS.items() if name not in data and attribute in envelope}
    elsewhere = {name: places[_FILLS[name]] for name in taken if _FILLS[name] in places}
    return Entry(pointer, {**data, **taken}, elsewhere)


def _is_said(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_json(content_type: object) -> bool:
    kind = content_type.partition(";")[0].strip().lower() if isinstance(content_type, str) else ""
    return kind == "application/json" or kind.endswith("+json")
