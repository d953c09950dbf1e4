"""Bytes ⇄ facts. Untrusted bytes are capped, read against pinned schemas only, and must be exactly what writing them again gives."""

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO
from pathlib import Path
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from trueup.contracts.catalogue import CatalogueVersion
from trueup.contracts.errors import Poison
from trueup.contracts.events import Refusal, RefusalReason, UsageEvent
from trueup.contracts.plain_event import WRITTEN_BY, read_plain_event
from trueup.contracts.progress import NewIds, ProgressRecord, Tally
from trueup.contracts.webhooks import StripeWebhook

MAX_RECORD_BYTES = 65_536
"""A usage event over this is refused before anything looks inside it."""

SINGLE_OBJECT_MARKER = b"\xc3\x01"
CONFLUENT_MARKER = 0
_SINGLE_OBJECT_FRAME_BYTES = 10
_CONFLUENT_FRAME_BYTES = 5

USAGE_EVENT = "usage_event"
_PINNED_USAGE_EVENTS = (USAGE_EVENT,)


class Framing(StrEnum):
    """How a record says which schema wrote it."""

    SINGLE_OBJECT = "single_object"
    CONFLUENT = "confluent"


class SchemaSource:
    """A schema of the `schemas` folder: parsed for speed, and named by the fingerprint of its canonical form."""

    def __init__(self, name: str) -> None:
        """Read and parse the schema file of this name."""
        declared = json.loads(schema_text(name))
        # Logical types are left out of what fastavro sees: a long stays a long, which is exact and costs half as much to read.
        self.parsed = parse_schema(_without_logical_types(declared))
        # fastavro gives the fingerprint's bytes in the little-endian order that the single-object frame holds.
        self.fingerprint = bytes.fromhex(fingerprint(to_parsing_canonical_form(declared), "CRC-64-AVRO"))
        self.frame = SINGLE_OBJECT_MARKER + self.fingerprint
        self.is_plain = self.fingerprint == WRITTEN_BY

    def read(self, body: bytes) -> dict[str, Any]:
        """Read one datum from the front of a body, whatever follows it."""
        datum: dict[str, Any] = schemaless_reader(BytesIO(body), self.parsed, None)  # type: ignore[assignment]
        return datum

    def write(self, datum: Mapping[str, Any]) -> bytes:
        """Write one datum without any frame."""
        buffer = BytesIO()
        schemaless_writer(buffer, self.parsed, datum)
        return buffer.getvalue()


@cache
def schema(name: str) -> SchemaSource:
    """Give the pinned schema of a record, read once a process."""
    return SchemaSource(name)


def schema_text(name: str) -> str:
    """Give the text of `schemas/<name>.avsc`."""
    return (_schema_folder() / f"{name}.avsc").read_text(encoding="utf-8")


def _schema_folder() -> Traversable:
    """Find the schemas: inside the package when it was installed from a wheel, at the root of the repository otherwise."""
    installed = files("trueup.contracts") / "schemas"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "schemas"


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_logical_types(value) for key, value in node.items() if key != "logicalType"}
    return [_without_logical_types(value) for value in node] if isinstance(node, list) else node


class Decoder:
    """Reads usage events in both framings. Its answer to any bytes at all is an event or a refusal, never an exception."""

    def __init__(self, confluent_schema_ids: Mapping[int, str] | None = None) -> None:
        """Pin the schemas: `confluent_schema_ids` says which registry id stands for which of our own."""
        self._by_frame: dict[bytes, tuple[SchemaSource, int]] = {}
        for name in _PINNED_USAGE_EVENTS:
            self._by_frame[schema(name).frame] = (schema(name), _SINGLE_OBJECT_FRAME_BYTES)
        for schema_id, name in (confluent_schema_ids or {}).items():
            if name not in _PINNED_USAGE_EVENTS:
                raise ValueError(f"schema id {schema_id} is mapped to {name!r}; pinned are {', '.join(_PINNED_USAGE_EVENTS)}")
            self._by_frame[_confluent_frame(schema_id)] = (schema(name), _CONFLUENT_FRAME_BYTES)

    def decode(self, value: bytes | None) -> UsageEvent | Refusal:
        """Read one record."""
        if value is None:
            return Refusal(RefusalReason.UNDECODABLE, None, "the record has no value")
        if len(value) > MAX_RECORD_BYTES:
            return Refusal(RefusalReason.TOO_LARGE, None, f"{len(value)} bytes; {MAX_RECORD_BYTES} are allowed")
        pinned = self._by_frame.get(value[:_SINGLE_OBJECT_FRAME_BYTES]) or self._by_frame.get(value[:_CONFLUENT_FRAME_BYTES])
        if pinned is None:
            return _frame_fault(value)
        source, frame_bytes = pinned
        body = value[frame_bytes:]
        plain = read_plain_event(body) if source.is_plain else None
        return decode_strictly(body, source) if plain is None else plain

    def decode_batch(self, values: Iterable[bytes | None]) -> list[UsageEvent | Refusal]:
        """Read many records; the answers stand in the order of the values."""
        decode = self.decode
        return [decode(value) for value in values]


def decode_strictly(body: bytes, source: SchemaSource) -> UsageEvent | Refusal:
    """Read a body with the general decoder, write what was read, and compare: fastavro alone accepts malformed bytes in silence."""
    # Any exception of the decoder is a verdict on these bytes: fastavro raises a dozen classes for malformed input.
    try:
        datum = source.read(body)
        written = source.write(datum)
    except Exception as fault:
        return Refusal(RefusalReason.UNDECODABLE, None, f"{type(fault).__name__}: {fault}"[:200])
    if written != body:
        return Refusal(RefusalReason.UNDECODABLE, None, "not in canonical form: writing what was read gives other bytes")
    return _event(datum)


def _event(datum: Mapping[str, Any]) -> UsageEvent:
    return UsageEvent(
        datum["id"],
        datum["source"],
        datum["event_time"],
        datum["meter"],
        datum["customer"],
        datum["quantity"],
        datum["reason"],
        datum["corrects"],
        datum["dimensions"],
    )


def _frame_fault(value: bytes) -> Refusal:
    if value[:2] == SINGLE_OBJECT_MARKER and len(value) >= _SINGLE_OBJECT_FRAME_BYTES:
        named = value[2:_SINGLE_OBJECT_FRAME_BYTES][::-1].hex()
        return Refusal(RefusalReason.UNKNOWN_SCHEMA, None, f"no pinned schema has the fingerprint {named}")
    if value[:1] == b"\x00" and len(value) >= _CONFLUENT_FRAME_BYTES:
        schema_id = int.from_bytes(value[1:_CONFLUENT_FRAME_BYTES], "big")
        return Refusal(RefusalReason.UNKNOWN_SCHEMA, None, f"no pinned schema is configured for the registry id {schema_id}")
    return Refusal(RefusalReason.UNDECODABLE, None, f"neither framing: the record of {len(value)} bytes begins with {value[:10].hex()!r}")


def _confluent_frame(schema_id: int) -> bytes:
    return bytes([CONFLUENT_MARKER]) + schema_id.to_bytes(4, "big")


def encode_event(event: UsageEvent, framing: Framing = Framing.SINGLE_OBJECT, confluent_schema_id: int | None = None) -> bytes:
    """Write one event; the Confluent framing needs the id that the registry gave our schema."""
    pinned = schema(USAGE_EVENT)
    body = pinned.write(
        {
            "id": event.id,
            "source": event.source,
            "event_time": event.event_time_ms,
            "meter": event.meter,
            "customer": event.customer,
            "quantity": event.quantity,
            "reason": event.reason,
            "corrects": event.corrects,
            "dimensions": event.dimensions,
        }
    )
    if framing is Framing.SINGLE_OBJECT:
        return pinned.frame + body
    if confluent_schema_id is None:
        raise ValueError("the Confluent framing needs a schema id")
    return _confluent_frame(confluent_schema_id) + body


def encode_progress(record: ProgressRecord) -> bytes:
    """Write one progress record."""
    pinned = schema("usage_progress")
    return pinned.frame + pinned.write(
        {
            "source_partition": record.source_partition,
            "first_offset": record.first_offset,
            "next_offset": record.next_offset,
            "catalogue_version": record.catalogue_version,
            "last_arrival": record.last_arrival_ms,
            "arrived": _tally_datum(record.arrived),
            "on_time": _tally_datum(record.on_time),
            "late": _tally_datum(record.late),
            "duplicate": _tally_datum(record.duplicate),
            "refused": _tally_datum(record.refused),
            "suspect_events": record.suspect_events,
            "new_ids": [{"hour": ids.hour, "packed": ids.packed} for ids in record.new_ids],
        }
    )


def decode_progress(value: bytes) -> ProgressRecord:
    """Read one progress record; Poison when it is none, since only the dedupe room writes that topic."""
    datum = _read_own("usage_progress", value)
    return ProgressRecord(
        source_partition=datum["source_partition"],
        first_offset=datum["first_offset"],
        next_offset=datum["next_offset"],
        catalogue_version=datum["catalogue_version"],
        last_arrival_ms=datum["last_arrival"],
        arrived=_tally(datum["arrived"]),
        on_time=_tally(datum["on_time"]),
        late=_tally(datum["late"]),
        duplicate=_tally(datum["duplicate"]),
        refused=_tally(datum["refused"]),
        suspect_events=datum["suspect_events"],
        new_ids=tuple([NewIds(ids["hour"], ids["packed"]) for ids in datum["new_ids"]]),
    )


def _tally_datum(tally: Tally) -> dict[str, Any]:
    return {"events": tally.events, "quantity": str(tally.quantity), "id_sum": str(tally.id_sum)}


def _tally(datum: Mapping[str, Any]) -> Tally:
    return Tally(datum["events"], int(datum["quantity"]), int(datum["id_sum"]))


def encode_catalogue_version(version: CatalogueVersion) -> bytes:
    """Write one version of the catalogue."""
    pinned = schema("catalogue_version")
    datum = {
        "version": version.version,
        "content_toml": version.content_toml,
        "applied_by": version.applied_by,
        "reason": version.reason,
    }
    return pinned.frame + pinned.write(datum)


def decode_catalogue_version(value: bytes) -> CatalogueVersion:
    """Read one version of the catalogue; Poison when the bytes are none."""
    datum = _read_own("catalogue_version", value)
    return CatalogueVersion(datum["version"], datum["content_toml"], datum["applied_by"], datum["reason"])


def encode_webhook(webhook: StripeWebhook) -> bytes:
    """Write one notification from Stripe."""
    pinned = schema("stripe_webhook")
    return pinned.frame + pinned.write(
        {
            "event_id": webhook.event_id,
            "type": webhook.type,
            "api_version": webhook.api_version,
            "livemode": webhook.livemode,
            "created": webhook.created_ms,
            "received_at": webhook.received_at_ms,
            "signature": webhook.signature,
            "body": webhook.body,
        }
    )


def decode_webhook(value: bytes) -> StripeWebhook:
    """Read one notification from Stripe; Poison when the bytes are none, since only the ingest room writes that topic."""
    datum = _read_own("stripe_webhook", value)
    return StripeWebhook(
        event_id=datum["event_id"],
        type=datum["type"],
        api_version=datum["api_version"],
        livemode=datum["livemode"],
        created_ms=datum["created"],
        received_at_ms=datum["received_at"],
        signature=datum["signature"],
        body=datum["body"],
    )


def _read_own(name: str, value: bytes) -> dict[str, Any]:
    """Read a record that only our own rooms write, with the same care as a stranger's."""
    pinned = schema(name)
    if not value.startswith(pinned.frame):
        raise Poison(f"no {name}: the record of {len(value)} bytes begins with {value[:10].hex()!r}")
    body = value[_SINGLE_OBJECT_FRAME_BYTES:]
    try:
        datum = pinned.read(body)
        written = pinned.write(datum)
    except Exception as fault:
        raise Poison(f"undecodable {name}: {type(fault).__name__}: {fault}") from fault
    if written != body:
        raise Poison(f"undecodable {name}: not in canonical form")
    return datum
