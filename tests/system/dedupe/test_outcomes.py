"""Each kind of record, published to a real topic, ends where the design says, also when the room is started again in between."""

from __future__ import annotations

import ctypes
import struct
from collections import Counter
from pathlib import Path

import confluent_kafka
import pytest

from devstack.process import wait_until
from services.dedupe.core.memory import MEMORY_HOURS
from tests.makers.dedupe_stories import BEGIN_MS, HOUR_MS, event
from tests.makers.dedupe_topics import Found, Topics
from tests.system.dedupe.conftest import MakeWorker
from trueup.contracts.codec import MAX_RECORD_BYTES, Framing, encode_event
from trueup.contracts.events import UsageEvent
from trueup.runtime.clock import SystemClock
from trueup.runtime.settings import StreetSettings

CONFLUENT_ID = 7
MINUTE_MS = 60_000


def now_event(id: str, ago_ms: int = 1_000, **changes: object) -> UsageEvent:
    """An event of a moment ago."""
    return event(id, NOW_MS - ago_ms, **changes)


NOW_MS = SystemClock().now_ms()


@pytest.fixture(autouse=True)
def _now() -> None:
    """Each test has its own now: in a long run, what lay ahead when the module was read is past when the test begins."""
    global NOW_MS
    NOW_MS = SystemClock().now_ms()


def ended_at(street: Topics, partition: int = 0) -> dict[int, str]:
    """Where each offset of a source partition ended; a duplicate is nowhere."""
    places = {}
    for topic in (street.names.on_time, street.names.late):
        for found in street.read(topic, partition):
            suspect = " suspect" if "trueup-suspect" in found.headers else ""
            places[found.source[1]] = topic.removeprefix(street.names.prefix).split(".")[1] + suspect
    for found in street.read(street.names.rejected, partition):
        places[found.source[1]] = found.headers["trueup-reason"].decode()
    return places


def all_decided(street: Topics) -> bool:
    """Says whether the room has committed everything that is on the usage topic."""
    return street.unread() == 0


def test_every_kind_of_record_ends_in_one_place(street: Topics, make_worker: MakeWorker) -> None:
    """Conflict in one batch and in the other framing, 64 KiB and one byte more, garbage, a good front with a broken tail, and the rest."""
    good = encode_event(now_event("good"))
    story: list[tuple[bytes | None, str | None]] = [
        (encode_event(now_event("a")), "on_time"),
        (encode_event(now_event("a")), None),
        (encode_event(now_event("a", quantity=6)), "on_time suspect"),
        (encode_event(now_event("a"), Framing.CONFLUENT, CONFLUENT_ID), None),
        (encode_event(now_event("a", quantity=7), Framing.CONFLUENT, CONFLUENT_ID), "on_time suspect"),
        (encode_event(now_event("b", ago_ms=46 * MINUTE_MS)), "late"),
        (encode_event(now_event("c", ago_ms=35 * 24 * HOUR_MS)), "late"),
        (encode_event(now_event("d", quantity=-1)), "negative_without_reason"),
        (encode_event(now_event("e", quantity=-1, reason="failed_run", corrects="a")), "on_time"),
        (good + b"\x00" * (MAX_RECORD_BYTES + 1 - len(good)), "too_large"),
        (b"\x00" * 1_900_000, "too_large"),
        (b"garbage", "undecodable"),
        (good[:-1] + b"\xff", "undecodable"),
        (good + b"tail", "undecodable"),
        (None, "undecodable"),
        (b"\x00\x00\x00\x00\x63" + good[10:], "unknown_schema"),
        (encode_event(now_event("f", meter="nothing")), "unknown_meter"),
        (encode_event(now_event("g", ago_ms=-10 * MINUTE_MS)), "time_in_future"),
        (encode_event(now_event("")), "bad_field"),
        (good, "on_time"),
    ]
    for value, _ in story:
        street.publish(value, 0, headers=[("traceparent", b"00-1"), ("trueup-arrival", b"1")])
    street.flush()
    worker = make_worker("dedupe-1", street.settings)
    worker.start()
    assert wait_until(lambda: all_decided(street), 60, 0.2), worker.said()
    assert ended_at(street) == {offset: place for offset, (_, place) in enumerate(story) if place is not None}
    _check_forwarded(street, dict(enumerate([value for value, _ in story])))
    sums = street.check_chain()
    assert (sums["arrived"].events, sums["duplicate"].events, sums["refused"].events) == (len(story), 2, 11)
    assert worker.metric("trueup_events_total") == len(story)
    assert worker.metric("trueup_refused_total") == 11
    assert worker.metric("trueup_suspects_total") == 2
    assert worker.stop() == 0, worker.said()


def _check_forwarded(street: Topics, values: dict[int, bytes | None]) -> None:
    """Same bytes, same key, the producer's headers, and the arrival that the broker gave."""
    for topic in (street.names.on_time, street.names.late, street.names.rejected):
        for found in street.read(topic, 0):
            sent = values[found.source[1]]
            kept = len(found.value or b"")
            assert found.value == sent if kept < 1_500_000 else (sent or b"").startswith(found.value or b"!")
            assert found.key == b"acme"
            assert found.headers["traceparent"] == b"00-1"
            assert abs(int(found.headers["trueup-arrival"]) - NOW_MS) < HOUR_MS


def test_a_restarted_room_still_knows_what_it_saw(street: Topics, make_worker: MakeWorker) -> None:
    """A duplicate and a conflict after a restart end as they would have without it."""
    worker = make_worker("dedupe-1", street.settings)
    for id in ("a", "b"):
        street.publish(encode_event(now_event(id)), 1)
    street.flush()
    worker.start()
    assert wait_until(lambda: all_decided(street), 60, 0.2), worker.said()
    worker.kill()
    street.publish(encode_event(now_event("a")), 1)
    street.publish(encode_event(now_event("b", quantity=9), Framing.CONFLUENT, CONFLUENT_ID), 1)
    street.publish(encode_event(now_event("c")), 1)
    street.flush()
    worker.start()
    assert wait_until(lambda: all_decided(street), 60, 0.2), worker.said()
    assert ended_at(street, 1) == {0: "on_time", 1: "on_time", 3: "on_time suspect", 4: "on_time"}
    street.check_chain()


def test_one_event_on_two_partitions_is_forwarded_twice(street: Topics, make_worker: MakeWorker) -> None:
    """The room's memory is per partition: what a producer spreads, the ledger's keys join again."""
    for partition in (0, 1):
        street.publish(encode_event(now_event("a")), partition)
    street.flush()
    worker = make_worker("dedupe-1", street.settings)
    worker.start()
    assert wait_until(lambda: all_decided(street), 60, 0.2), worker.said()
    assert Counter(found.partition for found in street.read_all(street.names.on_time)) == {0: 1, 1: 1}


def test_a_header_name_that_is_no_text_does_not_stop_the_room(street: Topics, make_worker: MakeWorker) -> None:
    """The client answers such headers with an error and then with a null pointer; the event itself is worth its money."""
    _publish_with_header(street, encode_event(now_event("a")), b"\xff\xfe")
    street.publish(encode_event(now_event("b")), 0)
    street.flush()
    worker = make_worker("dedupe-1", street.settings)
    worker.start()
    assert wait_until(lambda: all_decided(street), 60, 0.2), worker.said()
    assert [found.headers.keys() for found in street.read(street.names.on_time, 0)] == [{"trueup-arrival", "trueup-source"}] * 2


def _publish_with_header(street: Topics, value: bytes, name: bytes) -> None:
    """Through the client library itself, since its Python face writes text only."""
    folder = Path(confluent_kafka.__file__).parent
    library = ctypes.CDLL(str(next(folder.with_name("confluent_kafka.libs").glob("librdkafka*"))))
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
    errors = ctypes.create_string_buffer(500)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", street.settings.kafka_bootstrap.encode(), errors, ctypes.c_size_t(500))
    producer = ctypes.c_void_p(library.rd_kafka_new(0, conf, errors, ctypes.c_size_t(500)))
    topic, partition, flags, content, header, end = (ctypes.c_int(tag) for tag in (1, 3, 7, 4, 9, 0))
    size = ctypes.c_size_t(len(value))
    place = (topic, street.names.usage_events.encode(), partition, ctypes.c_int32(0), flags, ctypes.c_int(2))
    assert library.rd_kafka_producev(producer, *place, content, value, size, header, name, b"x", ctypes.c_ssize_t(1), end) == 0
    assert library.rd_kafka_flush(producer, 10_000) == 0
    library.rd_kafka_destroy(producer)


# ── the memory's 48 hours, on the simulated clock ──────────────────────────────────────────────────────────────────────


def test_a_duplicate_is_known_after_25_hours_and_forgotten_after_49(
    kafka_settings: StreetSettings, make_topics: object, make_worker: MakeWorker, tmp_path: Path
) -> None:
    """Arrival is the record's own time here; the room is restarted before each of them, so that it is the restored memory that knows."""
    settings = kafka_settings.model_copy(update={"topic_prefix": make_topics(simulated=True).prefix})  # type: ignore[operator]
    street = Topics(settings)
    street.apply_catalogue(append_ms=BEGIN_MS)
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("<q", BEGIN_MS))
    worker = make_worker("dedupe-1", settings, clock=f"simulated:{clock}")
    a, b = encode_event(event("a")), encode_event(event("b"))
    for value, hours in ((a, 0), (b, 1), (a, 25), (b, MEMORY_HOURS), (a, 49), (a, 50)):
        street.publish(value, 0, BEGIN_MS + hours * HOUR_MS)
        street.flush()
        worker.start()
        assert wait_until(lambda: all_decided(street), 60, 0.2), worker.said()
        worker.kill()
    forwarded: list[Found] = street.read(street.names.on_time, 0) + street.read(street.names.late, 0)
    assert [found.source[1] for found in forwarded] == [0, 1, 4]
    assert street.check_chain()["duplicate"].events == 3
