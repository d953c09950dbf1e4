"""Keys: parts can't run into each other, and a customer's partition is where every other client puts it."""

import ctypes
from pathlib import Path

import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.contracts import keys
from trueup.contracts.events import UsageEvent

# From UtilsTest.java of Apache Kafka; Java's ints are signed.
JAVA_VECTORS = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


def event(**changed: object) -> UsageEvent:
    """Make an event that differs from the usual one in what is named."""
    fields: dict[str, object] = {
        "id": "req-1",
        "source": "inference",
        "event_time_ms": 1_700_000_000_000,
        "meter": "input_tokens",
        "customer": "cust_1",
        "quantity": 374,
        "reason": None,
        "corrects": None,
        "dimensions": {},
    }
    return UsageEvent(**(fields | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(("key", "java_hash"), JAVA_VECTORS)
def test_partition_of_agrees_with_java(key: bytes, java_hash: int) -> None:
    """Apache Kafka's own test vectors, as its partitioner uses them."""
    for partitions in (1, 3, 12, 100):
        assert keys.partition_of(key, partitions) == (java_hash & 0x7FFFFFFF) % partitions


def test_partition_of_a_customer() -> None:
    """The example that the documentation gives."""
    assert keys.partition_of(b"cust_1", 12) == 2


@given(st.binary(max_size=64), st.integers(1, 200))
def test_partition_of_agrees_with_librdkafka(key: bytes, partitions: int) -> None:
    """The C client that our producers run on, asked directly."""
    assert keys.partition_of(key, partitions) == librdkafka_partition(key, partitions)


def librdkafka_partition(key: bytes, partitions: int) -> int:
    """Call the partitioner that `partitioner=murmur2_random` uses for a record with a key."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka*.so*"))))
    partitioner = library.rd_kafka_msg_partitioner_murmur2
    partitioner.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p]
    partitioner.restype = ctypes.c_int32
    chosen: int = partitioner(None, key, len(key), partitions, None, None)
    return chosen


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_length_prefixed_tells_lists_apart(one: list[bytes], other: list[bytes]) -> None:
    """Two lists give the same bytes only when they are the same list."""
    assert (keys.length_prefixed(*one) == keys.length_prefixed(*other)) == (one == other)


def test_identity_keeps_source_and_id_apart() -> None:
    """Moving characters over the seam, or a delimiter into a part, names another event."""
    named = {keys.identity(source, id) for source, id in [("a|b", "c"), ("a", "b|c"), ("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "")]}
    assert len(named) == 6


def test_bytes_identity_is_no_event_identity() -> None:
    """Bytes that spell the input of an identity have a name of another kind; no value is not an empty value."""
    spelled = keys.length_prefixed(b"inference", b"req-1")
    assert keys.bytes_identity(spelled) != keys.identity("inference", "req-1")
    assert keys.bytes_identity(None) != keys.bytes_identity(b"")


def test_payload_hash_is_decided_on_values() -> None:
    """The order of dimensions says nothing."""
    assert keys.payload_hash(event(dimensions={"a": "1", "b": "2"})) == keys.payload_hash(event(dimensions={"b": "2", "a": "1"}))


@pytest.mark.parametrize(
    "changed",
    [
        {"event_time_ms": 1_700_000_000_001},
        {"meter": "output_tokens"},
        {"customer": "cust_2"},
        {"quantity": 375},
        {"quantity": -374},
        {"reason": ""},
        {"reason": "x"},
        {"corrects": ""},
        {"corrects": "x"},
        {"dimensions": {"": ""}},
        {"dimensions": {"a": "1"}},
        {"dimensions": {"a1": ""}},
    ],
)
def test_payload_hash_sees_every_billing_field(changed: dict[str, object]) -> None:
    """Another value in any field is a conflict."""
    assert keys.payload_hash(event(**changed)) != keys.payload_hash(event())


def test_payload_hash_parts_do_not_run_together() -> None:
    """One dimension is not two, and a reason is not a `corrects`."""
    several: list[dict[str, object]] = [
        {"dimensions": {"a": "b", "c": "d"}},
        {"dimensions": {"a": "bc", "d": ""}},
        {"dimensions": {"a": "b"}, "reason": "c"},
        {"reason": "corrects"},
        {"corrects": "reason"},
        {"reason": "x", "corrects": "y"},
        {"reason": "y", "corrects": "x"},
    ]
    assert len({keys.payload_hash(event(**changed)) for changed in several}) == len(several)


def test_id_sum_fits_a_bigint() -> None:
    """32,768 of the largest terms stay within 63 bits."""
    assert keys.id_sum_term(b"\xff" * 16) * 2**15 < 2**63


def test_intent_identifier_is_fit_for_stripe() -> None:
    """At most 100 characters of letters, digits and dashes, and another for each part that changes."""
    parts = ("acct_1", "cus_1", "input_tokens", "acme", "tokens", 1_700_000_100_000, 5)
    changed = ("acct_2", "cus_2", "x", "globex", "words", 0, 6)
    others = [(*parts[:at], other, *parts[at + 1 :]) for at, other in enumerate(changed)]
    identifiers = {keys.intent_identifier(*each) for each in [parts, *others]}  # type: ignore[arg-type]
    assert len(identifiers) == 8
    assert all(len(identifier) <= 100 and identifier.replace("-", "").isalnum() for identifier in identifiers)
