"""Links and cursors: what opens, what does not, and why."""

from __future__ import annotations

import pytest

from services.usage_view.core import cursor
from services.usage_view.core.cursor import Place
from services.usage_view.core.freshness import Mark, data_through_ms
from services.usage_view.core.links import LONGEST_SECONDS, LinkVerdict, check, sign
from trueup.ledger.customer_usage import Progress

NOW_MS = 1_793_500_000_000
NEW, OLD, STRANGE = b"n" * 32, b"o" * 32, b"s" * 32
UNTIL = NOW_MS // 1_000 + 900


def verdict(customer: str = "acme", until: object = UNTIL, signature: str | None = None, now_ms: int = NOW_MS) -> LinkVerdict:
    """What a link is worth that was signed with the new secret."""
    return check(customer, str(until), sign("acme", UNTIL, NEW) if signature is None else signature, (NEW, OLD), now_ms)


CASES = [
    (LinkVerdict.GENUINE, {}),
    (LinkVerdict.GENUINE, {"signature": sign("acme", UNTIL, OLD)}),
    (LinkVerdict.GENUINE, {"now_ms": UNTIL * 1_000 - 1}),
    (LinkVerdict.EXPIRED, {"now_ms": UNTIL * 1_000}),
    (LinkVerdict.FORGED, {"signature": sign("acme", UNTIL, STRANGE)}),
    (LinkVerdict.FORGED, {"customer": "globex"}),
    (LinkVerdict.FORGED, {"customer": "acme\n"}),
    (LinkVerdict.FORGED, {"until": UNTIL + 1}),
    (LinkVerdict.FORGED, {"until": f"0{UNTIL}"}),
    (LinkVerdict.FORGED, {"until": f"{UNTIL} "}),
    (LinkVerdict.FORGED, {"until": "9" * 13, "signature": sign("acme", int("9" * 13), NEW)}),
    (LinkVerdict.FORGED, {"until": ""}),
    (LinkVerdict.FORGED, {"signature": ""}),
    (LinkVerdict.FORGED, {"signature": sign("acme", UNTIL, NEW).upper()}),
    (LinkVerdict.FORGED, {"signature": sign("acme", UNTIL, NEW) + "0"}),
    # No link of ours is good for longer than a day, whatever it says.
    (LinkVerdict.FORGED, {"now_ms": (UNTIL - LONGEST_SECONDS) * 1_000 - 1}),
    (LinkVerdict.GENUINE, {"now_ms": (UNTIL - LONGEST_SECONDS) * 1_000}),
]


@pytest.mark.parametrize(("expected", "given"), CASES)
def test_what_a_link_is_worth(expected: LinkVerdict, given: dict[str, object]) -> None:
    assert verdict(**given) is expected  # type: ignore[arg-type]


def test_names_do_not_run_into_dates() -> None:
    """`a` until 11 and `a1` until 1 are two things to sign."""
    assert sign("a", 11, NEW) != sign("a1", 1, NEW)


def test_a_cursor_goes_on_with_its_own_question_only() -> None:
    """Another customer, period or meter is another listing; so is one meter and all of them."""
    asked = cursor.question("acme", 0, 1, None)
    text = cursor.write(Place(7, 2**62), asked)
    assert cursor.read(text, asked) == Place(7, 2**62)
    for other in (("globex", 0, 1, None), ("acme", 0, 2, None), ("acme", 0, 1, ""), ("acme", 0, 1, "tokens")):
        with pytest.raises(ValueError, match="another"):
            cursor.read(text, cursor.question(*other))


@pytest.mark.parametrize("text", ["", "A", "AAAA", "!" * 34, "A" * 34, "A" * 1_000, "é" * 34])
def test_a_made_up_cursor_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        cursor.read(text, bytes(8))


THROUGH = [
    # what each partition has (next offset, last arrival), where each ends, the answer
    ([(5, 100), (9, 200)], {0: 5, 1: 9}, 1_000),
    ([(5, 100), (9, 200)], {0: 6, 1: 9}, 100),
    ([(5, 100), (9, 200)], {0: 6, 1: 10}, 100),
    ([(None, None), (9, 200)], {0: 0, 1: 9}, 1_000),
    ([(None, None), (9, 200)], {0: 1, 1: 9}, None),
    ([(5, None), (9, 200)], {0: 6, 1: 9}, None),
    ([(5, 100), (9, 200)], None, 100),
    ([(None, None), (9, 200)], None, None),
    ([(5, 100), (9, 200)], {0: 5}, 200),
    ([], {}, None),
]


@pytest.mark.parametrize(("held", "ends", "expected"), THROUGH)
def test_before_when_everything_is_counted(
    held: list[tuple[int | None, int | None]], ends: dict[int, int] | None, expected: int | None
) -> None:
    """The partition that is furthest behind says it; one that says nothing leaves it open."""
    mark = None if ends is None else Mark(1_000, ends)
    assert data_through_ms([Progress(number, *one) for number, one in enumerate(held)], mark) == expected
