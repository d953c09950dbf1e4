"""Usage events and their bytes, made in ways that the codec itself can't make them."""

from collections.abc import Mapping

from hypothesis import strategies as st

from trueup.contracts import codec
from trueup.contracts.events import UsageEvent

FRAME = bytes.fromhex("c3015e7463cf019655f1")
"""The single-object frame of usage_event v1, written out: the marker and the fingerprint, least significant byte first."""


def varint(number: int, spare_bytes: int = 0) -> bytes:
    """Write a zigzag varint, with as many bytes too many as wished."""
    raw = (number << 1) ^ (number >> 63)
    raw &= 2**64 - 1
    out = bytearray()
    while raw >= 0x80:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    for _ in range(spare_bytes):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def text(content: str | bytes) -> bytes:
    """Write a text."""
    raw = content.encode() if isinstance(content, str) else content
    return varint(len(raw)) + raw


PARTS: Mapping[str, bytes] = {
    "id": text("req-1"),
    "source": text("inference"),
    "event_time": varint(1_700_000_000_123),
    "meter": text("input_tokens"),
    "customer": text("cust_1"),
    "quantity": varint(374),
    "reason": varint(0),
    "corrects": varint(0),
    "dimensions": varint(0),
}


def record(**changed: bytes) -> bytes:
    """Put a record together from parts, some of them other than good."""
    return FRAME + b"".join((dict(PARTS) | changed).values())


texts = st.text(st.characters(codec="utf-8"), max_size=80)
longs = st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 70)
events = st.builds(
    UsageEvent,
    id=texts,
    source=texts,
    event_time_ms=longs,
    meter=texts,
    customer=texts,
    quantity=longs,
    reason=st.none() | texts,
    corrects=st.none() | texts,
    dimensions=st.dictionaries(texts, texts, max_size=70),
)
records = events.map(codec.encode_event)
