"""What the publisher refuses before anything is queued, and how it takes a broker that is away."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from trueup.contracts.events import RefusalReason
from trueup.publisher import Backlogged, DeliveryFailed, InvalidUsage, Publisher
from trueup.publisher.errors import MisplacedPublisher
from trueup.publisher.publisher import _milliseconds, _smallest_units

GOOD = {"id": "req-1", "customer": "acme", "meter": "input_tokens", "value": 374, "time": datetime(2026, 11, 1, tzinfo=UTC)}


@pytest.fixture
def away() -> Iterator[str]:
    """An address where nobody answers: bound, so that nobody else takes it, and never listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def publisher(away: str, **passed_through: str) -> Publisher:
    """Make a publisher whose broker is away and whose deliveries are given up after a moment."""
    options = {"MESSAGE_TIMEOUT_MS": "300", "LOG_LEVEL": "0"} | passed_through
    environment = {"TRUEUP_KAFKA_BOOTSTRAP": away} | {f"TRUEUP_KAFKA__{name}": value for name, value in options.items()}
    return Publisher.from_environment("inference", scales={"storage": 3, "input_tokens": 0}, environment=environment)


@pytest.mark.parametrize(
    ("changed", "reason", "field"),
    [
        ({"value": 1.5}, "bad_field", "quantity"),
        ({"value": 374.0}, "bad_field", "quantity"),
        ({"value": True}, "bad_field", "quantity"),
        ({"value": None}, "bad_field", "quantity"),
        ({"value": "1.5"}, "bad_field", "quantity"),
        ({"value": "1e3"}, "bad_field", "quantity"),
        ({"value": Decimal("0.5")}, "bad_field", "quantity"),
        ({"value": Decimal("NaN")}, "bad_field", "quantity"),
        ({"value": 10**15}, "bad_field", "quantity"),
        ({"meter": "storage", "value": "0.0001"}, "bad_field", "quantity"),
        ({"meter": "audio"}, "unknown_meter", None),
        ({"id": ""}, "bad_field", "id"),
        ({"id": "a\0"}, "bad_field", "id"),
        ({"id": UUID(int=1)}, "bad_field", "id"),
        ({"id": "\ud800"}, "bad_field", "text"),
        ({"customer": "x" * 256}, "bad_field", "customer"),
        ({"meter": 7}, "bad_field", "meter"),
        ({"time": datetime(2026, 11, 1)}, "bad_field", "event_time"),  # noqa: DTZ001
        ({"time": "2026-11-01T00:00:00Z"}, "bad_field", "event_time"),
        ({"time": 1.5}, "bad_field", "event_time"),
        ({"time": -1}, "bad_field", "event_time"),
        ({"value": -1}, "negative_without_reason", "reason"),
        ({"corrects": "req-0"}, "bad_field", "corrects"),
        ({"dimensions": {"model": 7}}, "bad_field", "dimensions"),
        ({"dimensions": {7: "x"}}, "bad_field", "dimensions"),
        ({"dimensions": {"pad": "x" * 65_536}}, "too_large", None),
    ],
)
def test_refused_before_it_is_queued(away: str, changed: dict[str, object], reason: str, field: str | None) -> None:
    """With the reason and field that the refused topic would show; nothing waits for the broker afterwards."""
    with publisher(away, MESSAGE_TIMEOUT_MS="60000") as usage:
        with pytest.raises(InvalidUsage) as refused:
            usage.publish(**(GOOD | changed))  # type: ignore[arg-type]
        assert (refused.value.refusal.reason, refused.value.refusal.field) == (RefusalReason(reason), field)
        usage.flush(0)


@pytest.mark.parametrize(
    ("value", "scale", "quantity"),
    [(374, 0, 374), ("374", 0, 374), (-1, 0, -1), (2, 3, 2000), ("0.5", 3, 500), (Decimal("0.125"), 3, 125), (Decimal("1E+3"), 0, 1000)],
)
def test_values_become_smallest_units(value: int | str | Decimal, scale: int, quantity: int) -> None:
    """By the decimal places that the service says the meter has."""
    assert _smallest_units(value, scale) == quantity


@pytest.mark.parametrize(
    ("moment", "milliseconds"),
    [
        (0, 0),
        (1_700_000_000_123, 1_700_000_000_123),
        (datetime(2023, 11, 14, 22, 13, 20, 123_999, tzinfo=UTC), 1_700_000_000_123),
        (datetime(2023, 11, 15, 0, 13, 20, 123_000, tzinfo=timezone(timedelta(hours=2))), 1_700_000_000_123),
        (datetime(1969, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC), -1),
    ],
)
def test_times_become_milliseconds(moment: datetime | int, milliseconds: int) -> None:
    """Rounded down, without a float on the way."""
    assert _milliseconds(moment) == milliseconds


def test_a_meter_whose_unit_could_not_be_learnt_is_not_guessed(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the catalogue nobody knows what a value of 1 stands for: the event is not taken, and says so at once."""
    monkeypatch.setattr("trueup.publisher.publisher.FIRST_READ_SECONDS", 0.2)
    environment = {"TRUEUP_KAFKA_BOOTSTRAP": away, "TRUEUP_KAFKA__LOG_LEVEL": "0"}
    with Publisher.from_environment("inference", environment=environment) as usage:
        with pytest.raises(Backlogged, match="catalogue was not read yet"):
            usage.publish(**GOOD)  # type: ignore[arg-type]
        usage.flush(0)


def test_publish_does_not_wait_for_a_broker_that_is_away(away: str) -> None:
    """A thousand events take no longer than writing them, though each would time out only after a minute."""
    usage = publisher(away, MESSAGE_TIMEOUT_MS="60000")
    started = time.monotonic()
    for number in range(1000):
        usage.publish(**(GOOD | {"id": f"req-{number}"}))  # type: ignore[arg-type]
    assert time.monotonic() - started < 10
    with pytest.raises(Backlogged, match=r"up to 1\d{3} events still wait"):
        usage.flush(0.05)
    usage._last_words.detach()


def test_a_full_queue(away: str) -> None:
    """The event that finds no place is not taken, and says so; the others are still tried."""
    usage = publisher(away, QUEUE_BUFFERING_MAX_MESSAGES="3", MESSAGE_TIMEOUT_MS="3000")
    for number in range(3):
        usage.publish(**(GOOD | {"id": f"req-{number}"}))  # type: ignore[arg-type]
    with pytest.raises(Backlogged, match="queue for the broker is full"):
        usage.publish(**(GOOD | {"id": "req-3"}))  # type: ignore[arg-type]
    with pytest.raises(DeliveryFailed) as failed:
        usage.flush()
    assert failed.value.ids == ("req-0", "req-1", "req-2")


def test_a_failed_delivery_raises_at_the_next_call(away: str) -> None:
    """With the ids; the call's own event is not taken, and once told the publisher goes on."""
    usage = publisher(away)
    usage.publish(**(GOOD | {"id": "lost"}))  # type: ignore[arg-type]
    deadline = time.monotonic() + 20
    with pytest.raises(DeliveryFailed, match="lost") as failed:
        while time.monotonic() < deadline:
            usage.publish(**(GOOD | {"id": "next"}))  # type: ignore[arg-type]
            time.sleep(0.05)
    assert "lost" in failed.value.ids
    usage.publish(**(GOOD | {"id": "last"}))  # type: ignore[arg-type]
    with pytest.raises(DeliveryFailed, match="last"):
        usage.close()


def test_a_failed_delivery_raises_at_exit(away: str) -> None:
    """Leaving the block waits, then names what was lost."""
    with pytest.raises(DeliveryFailed) as failed, publisher(away) as usage:
        usage.publish(**GOOD)  # type: ignore[arg-type]
    assert failed.value.ids == ("req-1",)


def test_a_fault_in_the_block_does_not_hide_a_lost_event(away: str) -> None:
    """Both are told: the loss as the exception, the fault as its context."""
    with pytest.raises(DeliveryFailed) as failed, publisher(away) as usage:
        usage.publish(**GOOD)  # type: ignore[arg-type]
        raise RuntimeError("the service's own")
    assert isinstance(failed.value.__context__, RuntimeError)


def test_a_closed_publisher_takes_nothing(away: str) -> None:
    """Nothing would deliver it."""
    usage = publisher(away)
    usage.close()
    usage.close()
    with pytest.raises(MisplacedPublisher, match="is closed"):
        usage.publish(**GOOD)  # type: ignore[arg-type]


def test_a_forked_publisher_takes_nothing(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that delivers did not come along: the event would wait for ever."""
    usage = publisher(away)
    usage._process -= 1
    with pytest.raises(MisplacedPublisher, match="is a fork"):
        usage.publish(**GOOD)  # type: ignore[arg-type]


def test_many_lost_events_are_named_in_a_few_words(away: str) -> None:
    """All ids are there for a program, ten for a reader."""
    with pytest.raises(DeliveryFailed, match=r"25 events were not delivered: .* and 15 more") as failed, publisher(away) as usage:
        for number in range(25):
            usage.publish(**(GOOD | {"id": f"req-{number}"}))  # type: ignore[arg-type]
    assert set(failed.value.ids) == {f"req-{number}" for number in range(25)}
