"""Where a listing of events goes on: after which place in the ledger, and of which question. It is no secret, only not to be made up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from trueup.contracts.keys import length_prefixed

_PLACES = struct.Struct(">BQQ8s")
_VERSION = 1
_MOST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the ledger: after this offset of this batch. Rows are only ever added, so a place stays where it is."""

    batch_id: int
    source_offset: int


BEGINNING = Place(0, 0)


def question(customer: str, start_ms: int, end_ms: int, meter: str | None) -> bytes:
    """Name what is listed: a cursor goes on only with the question it came from."""
    parts = (customer, str(start_ms), str(end_ms), "" if meter is None else f"={meter}")
    return hashlib.sha256(length_prefixed(*(part.encode() for part in parts))).digest()[:8]


def write(place: Place, asked: bytes) -> str:
    """Write a place for a client to send back."""
    return base64.urlsafe_b64encode(_PLACES.pack(_VERSION, place.batch_id, place.source_offset, asked)).decode().rstrip("=")


def read(text: str, asked: bytes) -> Place:
    """Read what a client sent back; ValueError when it is none of ours, or of another question."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, batch_id, source_offset, of = _PLACES.unpack(packed)
    except (binascii.Error, struct.error, ValueError) as fault:
        raise ValueError("it is no cursor of ours") from fault
    if version != _VERSION or max(batch_id, source_offset) > _MOST:
        raise ValueError("it is no cursor of ours")
    if of != asked:
        raise ValueError("it belongs to another customer, period or meter")
    return Place(batch_id, source_offset)
