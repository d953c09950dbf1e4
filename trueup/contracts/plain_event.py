"""A usage event of the common shape, read in one pass at half the cost of the general decoder.

It gives an event only when every byte of the body was read and is the only way to write what was read; for all else it gives None
and the general decoder, which writes the record again and compares, has the word. So it decides nothing that the other would not.
"""

from trueup.contracts.events import UsageEvent

WRITTEN_BY = bytes.fromhex("5e7463cf019655f1")
"""The fingerprint of the one schema that this knows: records of any other take the general way."""
_LARGEST_VARINT_BYTES = 9
"""Up to 63 bits: any varint this short is in range whatever its bits; the few longer ones take the other way."""


def read_plain_event(body: bytes) -> UsageEvent | None:
    """Read an event whose texts are under 64 bytes each and whose dimensions are one block; None when it is anything else.

    A length is one byte below 128 and even, which is the only way to write 0 to 63.
    """
    try:
        length = body[0]
        if length & 0x81:
            return None
        end = (length >> 1) + 1
        id = body[1:end].decode()

        length = body[end]
        if length & 0x81:
            return None
        start, end = end + 1, end + 1 + (length >> 1)
        source = body[start:end].decode()

        event_time_ms, end = _long(body, end)

        length = body[end]
        if length & 0x81:
            return None
        start, end = end + 1, end + 1 + (length >> 1)
        meter = body[start:end].decode()

        length = body[end]
        if length & 0x81:
            return None
        start, end = end + 1, end + 1 + (length >> 1)
        customer = body[start:end].decode()

        quantity, end = _long(body, end)

        reason, end = _optional_text(body, end)
        corrects, end = _optional_text(body, end)
        dimensions, end = _texts_by_name(body, end)
    # A body that ends too early, a text that is no UTF-8, and whatever the parts above refuse.
    except (IndexError, ValueError):
        return None
    if end != len(body):
        return None
    return UsageEvent(id, source, event_time_ms, meter, customer, quantity, reason, corrects, dimensions)


def _long(body: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag varint written in as few bytes as it needs; give it and where it ends."""
    byte = body[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    raw = byte & 0x7F
    shift = 7
    last = at + _LARGEST_VARINT_BYTES - 1
    while True:
        at += 1
        byte = body[at]
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if at >= last:
            raise ValueError("a varint of more bytes than the plain ones have")
    if byte == 0:
        raise ValueError("a varint with a byte too many")
    return (raw >> 1) ^ -(raw & 1), at + 1


def _text(body: bytes, at: int) -> tuple[str, int]:
    length = body[at]
    if length & 0x81:
        raise ValueError("a text of 64 bytes or more")
    end = at + 1 + (length >> 1)
    return body[at + 1 : end].decode(), end


def _optional_text(body: bytes, at: int) -> tuple[str | None, int]:
    branch = body[at]
    if branch == 0:
        return None, at + 1
    if branch != 2:
        raise ValueError("no branch of the union")
    return _text(body, at + 1)


def _texts_by_name(body: bytes, at: int) -> tuple[dict[str, str], int]:
    """Read a map written as one block, then its end; two entries of one name are not what writing it again would give."""
    count = body[at]
    at += 1
    if count == 0:
        return {}, at
    if count & 0x81:
        raise ValueError("a map of 64 entries or more, or one that gives its size")
    count >>= 1
    texts = {}
    for _ in range(count):
        name, at = _text(body, at)
        texts[name], at = _text(body, at)
    if len(texts) != count or body[at] != 0:
        raise ValueError("a name twice, or another block")
    return texts, at + 1
