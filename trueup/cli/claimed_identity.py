"""Whom a record says it is, from the front of bytes that nobody could read whole: too large, of an unknown schema, broken further on.

It is what the bytes claim, good enough to find them again and never to count them: id and source are the first two fields of every
version of `UsageEvent`, in both framings. Whatever the bytes are, the answer is two texts or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from trueup.contracts.keys import frame_bytes

# A length up to 2^31 takes five bytes, and one written with a few too many is still understood.
LONGEST_LENGTH_BYTES = 10
# An identity longer than this is one that no event may have; a whole record of 64 KiB is not searched for it.
LONGEST_TEXT_BYTES = 4 * 255


@dataclass(frozen=True, slots=True)
class ClaimedIdentity:
    """What the front of a record says."""

    source: str
    id: str


def claimed_identity(value: bytes) -> ClaimedIdentity | None:
    """The identity at the front of a record; None when there is no framing, or no two texts behind it."""
    frame = frame_bytes(value)
    if not frame:
        return None
    first = text_at(value, frame)
    if first is None:
        return None
    second = text_at(value, first[1])
    return None if second is None else ClaimedIdentity(source=second[0], id=first[0])


def text_at(value: bytes, at: int) -> tuple[str, int] | None:
    """A text of Avro's form and where it ends; None when these bytes hold none."""
    raw = shift = 0
    for place in range(at, min(at + LONGEST_LENGTH_BYTES, len(value))):
        raw |= (value[place] & 0x7F) << shift
        shift += 7
        if value[place] < 0x80:
            break
    else:
        return None
    # An odd number stands for a negative length.
    length, start = raw >> 1, place + 1
    if raw & 1 or length > LONGEST_TEXT_BYTES or start + length > len(value):
        return None
    try:
        return value[start : start + length].decode(), start + length
    except UnicodeDecodeError:
        return None
