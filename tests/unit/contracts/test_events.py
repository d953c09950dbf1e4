"""Which fields are fit to be stored and billed."""

import pytest

from trueup.contracts.events import RefusalReason, UsageEvent, check_fields

BAD, NEGATIVE = RefusalReason.BAD_FIELD, RefusalReason.NEGATIVE_WITHOUT_REASON


def event(**changed: object) -> UsageEvent:
    """Make an event that differs from a good one in what is named."""
    good: dict[str, object] = dict.fromkeys(("id", "source", "meter", "customer"), "x")
    good |= {"event_time_ms": 1_700_000_000_000, "quantity": 1, "reason": None, "corrects": None, "dimensions": {}}
    return UsageEvent(**(good | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"quantity": 0},
        {"quantity": 10**15 - 1},
        {"quantity": -(10**15) + 1, "reason": "r"},
        {"event_time_ms": 0},
        {"id": "x" * 255},
        {"id": "推" * 255},
        {"id": " "},
        {"id": "a\r\nb|c:d'\"..\u202e"},
        {"reason": "given though the quantity is positive"},
        {"quantity": -1, "reason": "r", "corrects": "x"},
        {"quantity": -1, "reason": "r", "corrects": "x" * 255},
        {"dimensions": {"": ""}},
    ],
)
def test_fit(changed: dict[str, object]) -> None:
    """Odd but harmless values are taken: it is not ours to judge names."""
    assert check_fields(event(**changed)) is None


@pytest.mark.parametrize(
    ("changed", "reason", "field"),
    [
        ({"id": ""}, BAD, "id"),
        ({"source": ""}, BAD, "source"),
        ({"meter": ""}, BAD, "meter"),
        ({"customer": ""}, BAD, "customer"),
        ({"id": "x" * 256}, BAD, "id"),
        ({"source": "x" * 256}, BAD, "source"),
        ({"meter": "x" * 256}, BAD, "meter"),
        ({"customer": "x" * 256}, BAD, "customer"),
        ({"id": "a\0"}, BAD, "id"),
        ({"source": "\0"}, BAD, "source"),
        ({"meter": "\0a"}, BAD, "meter"),
        ({"customer": "a\0b"}, BAD, "customer"),
        ({"reason": "\0"}, BAD, "reason"),
        ({"quantity": -1, "reason": "r", "corrects": "a\0"}, BAD, "corrects"),
        ({"quantity": -1, "reason": "r", "corrects": ""}, BAD, "corrects"),
        ({"quantity": -1, "reason": "r", "corrects": "x" * 256}, BAD, "corrects"),
        ({"corrects": "x"}, BAD, "corrects"),
        ({"quantity": 0, "corrects": "x"}, BAD, "corrects"),
        ({"dimensions": {"a\0": "b"}}, BAD, "dimensions"),
        ({"dimensions": {"a": "\0"}}, BAD, "dimensions"),
        ({"event_time_ms": -1}, BAD, "event_time"),
        ({"quantity": 10**15}, BAD, "quantity"),
        ({"quantity": -(10**15)}, BAD, "quantity"),
        ({"quantity": 2**63 - 1}, BAD, "quantity"),
        ({"quantity": -(2**63), "reason": "r"}, BAD, "quantity"),
        ({"quantity": -1}, NEGATIVE, "reason"),
        ({"quantity": -1, "reason": ""}, NEGATIVE, "reason"),
        ({"quantity": -1, "reason": " \t\n"}, NEGATIVE, "reason"),
        ({"quantity": -1, "corrects": "x"}, NEGATIVE, "reason"),
    ],
)
def test_refused(changed: dict[str, object], reason: RefusalReason, field: str) -> None:
    """Each refusal has its reason and names its field."""
    refusal = check_fields(event(**changed))
    assert refusal is not None
    assert (refusal.reason, refusal.field) == (reason, field)
    assert refusal.detail
