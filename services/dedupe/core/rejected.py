"""What a refused record looks like on `usage.rejected.v1`: its bytes, and why, in the headers that Kafka tools already show."""

from __future__ import annotations

from services.dedupe.core.records import (
    MAX_ENVELOPE_BYTES,
    MAX_KEPT_BYTES,
    Headers,
    Output,
    Record,
    Route,
    envelope_bytes,
    foreign_headers,
)
from trueup.contracts.events import Refusal
from trueup.contracts.topics import (
    HEADER_ARRIVAL,
    HEADER_ERROR_CLASS,
    HEADER_ERROR_CONNECTOR,
    HEADER_ERROR_MESSAGE,
    HEADER_ERROR_OFFSET,
    HEADER_ERROR_PARTITION,
    HEADER_ERROR_STAGE,
    HEADER_ERROR_TOPIC,
    HEADER_FIELD,
    HEADER_REASON,
    HEADER_SOURCE,
    HEADER_TRUNCATED,
)

CONNECTOR = b"trueup.dedupe"
STAGE = b"VALUE_CONVERTER"
"""The name that Kafka Connect gives to this stage; tools filter by it."""


def kept(value: bytes | None) -> bytes | None:
    """As much of a value as its topic can hold."""
    return value if value is None or len(value) <= MAX_KEPT_BYTES else value[:MAX_KEPT_BYTES]


def rejected(record: Record, refusal: Refusal, topic: str, partition: int) -> Output:
    """The record to write: original key, bytes and headers, as far as the topic can hold them."""
    value = kept(record.value)
    heavy = envelope_bytes(record) > MAX_ENVELOPE_BYTES
    headers = () if heavy else foreign_headers(record.headers)
    reasons = _reasons(record, refusal, topic, partition)
    if record.value is not None and len(record.value) > MAX_KEPT_BYTES:
        reasons = (*reasons, (HEADER_TRUNCATED, b"%d" % len(record.value)))
    return Output(Route.REJECTED, None if heavy else record.key, value, headers + reasons)


def _reasons(record: Record, refusal: Refusal, topic: str, partition: int) -> Headers:
    reasons: list[tuple[str, bytes | None]] = [
        (HEADER_ARRIVAL, b"%d" % record.arrival_ms),
        (HEADER_SOURCE, b"%d:%d" % (partition, record.offset)),
        (HEADER_REASON, refusal.reason.value.encode()),
        (HEADER_ERROR_TOPIC, topic.encode()),
        (HEADER_ERROR_PARTITION, b"%d" % partition),
        (HEADER_ERROR_OFFSET, b"%d" % record.offset),
        (HEADER_ERROR_CONNECTOR, CONNECTOR),
        (HEADER_ERROR_STAGE, STAGE),
        (HEADER_ERROR_CLASS, refusal.reason.value.encode()),
        (HEADER_ERROR_MESSAGE, refusal.detail.encode(errors="backslashreplace")),
    ]
    if refusal.field is not None:
        reasons.append((HEADER_FIELD, refusal.field.encode()))
    return tuple(reasons)
