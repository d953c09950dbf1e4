"""Every key by which two things are held to be the same, each made from length-prefixed parts."""

from hashlib import blake2b, sha256

from trueup.contracts.events import UsageEvent

# A hash object prepared once and copied costs a third less than a new one; `person` keeps the kinds of key apart.
_IDENTITY = blake2b(digest_size=16, person=b"trueup.identity")
_BYTES_IDENTITY = blake2b(digest_size=16, person=b"trueup.bytes")
_PAYLOAD = blake2b(digest_size=16, person=b"trueup.payload")
_RECORD = blake2b(digest_size=8, person=b"trueup.record")

_SINGLE_OBJECT_MARKER = b"\xc3\x01"
_SINGLE_OBJECT_FRAME_BYTES = 10
_CONFLUENT_FRAME_BYTES = 5


def length_prefixed(*parts: bytes) -> bytes:
    """Join parts so that no two different lists give the same bytes: `a|b` + `c` is never `a` + `b|c`."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


# Written out once: making them anew was half the cost of a payload hash.
_LENGTHS = [length.to_bytes(4, "big") for length in range(256)]
_EVENT_TIME, _METER, _CUSTOMER, _QUANTITY, _REASON, _CORRECTS, _DIMENSIONS = [
    length_prefixed(name) for name in (b"event_time", b"meter", b"customer", b"quantity", b"reason", b"corrects", b"dimensions")
]


def identity(source: str, id: str) -> bytes:
    """Name the event in 16 bytes, the same for ever: what is UNIQUE in the ledger."""
    hashing = _IDENTITY.copy()
    source_bytes = source.encode()
    id_bytes = id.encode()
    hashing.update(len(source_bytes).to_bytes(4, "big") + source_bytes + len(id_bytes).to_bytes(4, "big") + id_bytes)
    return hashing.digest()


def bytes_identity(value: bytes | None) -> bytes:
    """Name bytes that gave no event, so that refused records can be conserved by their id sum too."""
    hashing = _BYTES_IDENTITY.copy()
    hashing.update(b"\x00" if value is None else b"\x01" + value)
    return hashing.digest()


def payload_hash(event: UsageEvent) -> bytes:
    """Hash what an event says, by field name and value: dimensions sorted, defaults omitted, framing and field order without effect.

    Two records of one identity are a duplicate when this is equal and a conflict when it is not.
    """
    time, quantity = b"%d" % event.event_time_ms, b"%d" % event.quantity
    parts = [_EVENT_TIME, _prefixed(time), _METER, _prefixed(event.meter.encode()), _CUSTOMER, _prefixed(event.customer.encode())]
    parts += (_QUANTITY, _prefixed(quantity))
    if event.reason is not None:
        parts += (_REASON, _prefixed(event.reason.encode()))
    if event.corrects is not None:
        parts += (_CORRECTS, _prefixed(event.corrects.encode()))
    if event.dimensions:
        for name, value in sorted(event.dimensions.items()):
            parts += (_DIMENSIONS, _prefixed(name.encode()), _prefixed(value.encode()))
    hashing = _PAYLOAD.copy()
    hashing.update(b"".join(parts))
    return hashing.digest()


def _prefixed(part: bytes) -> bytes:
    length = len(part)
    return (_LENGTHS[length] if length < 256 else length.to_bytes(4, "big")) + part


def record_hash(value: bytes) -> bytes:
    """Hash a record's body in 8 bytes, without its framing: cheap enough to raise the suspicion of a conflict, never to decide it."""
    hashing = _RECORD.copy()
    hashing.update(value[frame_bytes(value) :])
    return hashing.digest()


def frame_bytes(value: bytes) -> int:
    """Say how many leading bytes are framing, by the marker alone."""
    if value[:2] == _SINGLE_OBJECT_MARKER:
        return _SINGLE_OBJECT_FRAME_BYTES
    return _CONFLUENT_FRAME_BYTES if value[:1] == b"\x00" else 0


def id_sum_term(identity: bytes) -> int:
    """Give what one identity adds to an id sum: its first 48 bits, so that 2**15 of them still fit a bigint."""
    return int.from_bytes(identity[:6], "big")


def partition_of(key: bytes, partitions: int) -> int:
    """Name the partition that the Java clients' partitioner (murmur2) and librdkafka's `murmur2_random` choose for a key."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    """Compute the 32-bit murmur2 of Kafka's Java clients, as an unsigned number."""
    length = len(data)
    state = (0x9747B28C ^ length) & 0xFFFFFFFF
    whole = length - length % 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * 0x5BD1E995 & 0xFFFFFFFF
        word = (word ^ word >> 24) * 0x5BD1E995 & 0xFFFFFFFF
        state = state * 0x5BD1E995 & 0xFFFFFFFF ^ word
    if whole != length:
        state = (state ^ int.from_bytes(data[whole:], "little")) * 0x5BD1E995 & 0xFFFFFFFF
    state = (state ^ state >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return state ^ state >> 15


def intent_identifier(
    stripe_account: str, stripe_customer: str, event_name: str, customer: str, meter: str, segment_start_ms: int, after_batch: int
) -> str:
    """Name what is sent to Stripe, from what it covers: the same intent always has the same identifier, and no other has it.

    Ours stand beside Stripe's names, since two meters may have had one event name, in two versions of the catalogue.
    """
    parts = (stripe_account, stripe_customer, event_name, customer, meter, str(segment_start_ms), str(after_batch))
    return "trueup-" + sha256(length_prefixed(*[part.encode() for part in parts])).hexdigest()
