"""What goes into the core and what comes out of it, in the room's own words."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from trueup.contracts.topics import LARGEST_USAGE_RECORD_BYTES, is_own_header

Headers = tuple[tuple[str, bytes | None], ...]

MAX_ENVELOPE_BYTES = 65_536
"""Key and headers together: a producer's baggage must not make a small event too large for the topics behind this room."""

HEADER_LENGTHS = 2

MAX_KEPT_BYTES = LARGEST_USAGE_RECORD_BYTES
"""More than the source topic takes of a value; `usage.rejected.v1` holds the headers beside it. Where an operator let the source topic
take more, that keeps the rest."""


class Route(StrEnum):
    """Which of the three topics an output goes to."""

    ON_TIME = "on_time"
    LATE = "late"
    REJECTED = "rejected"


class Record(NamedTuple):
    """One record of a source partition, as the broker holds it."""

    offset: int
    arrival_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Output(NamedTuple):
    """One record to be written to the partition of the same number."""

    route: Route
    key: bytes | None
    value: bytes | None
    headers: Headers


def envelope_bytes(record: Record) -> int:
    """How much a record weighs beside its value, as Kafka writes it: a header without a name and a content takes its two lengths too."""
    weight = len(record.key or b"")
    for name, content in record.headers:
        weight += len(name.encode()) + len(content or b"") + HEADER_LENGTHS
    return weight


def foreign_headers(headers: Headers) -> Headers:
    """The producer's own headers, without any that speak in this room's name."""
    return tuple([header for header in headers if not is_own_header(header[0])])
