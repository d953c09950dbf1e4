"""What stands behind the question mark of a link that went through mail programs, and of one that did not."""

from __future__ import annotations

import pytest

from services.usage_view.core.query import parameters
from trueup.contracts.problems import Refused

KNOWN = ("until", "signature", "period")
GOOD = b"until=7&signature=ab%20c"


@pytest.mark.parametrize(
    "decoration",
    [
        b"",
        b"&utm_source=mail",
        b"&fbclid",
        b"&",
        b"&&",
        b"&x=%FF",
        b"&%FF=x",
        b"&%zz=%",
        b"&x=\xff",
        b"&=",
        b"&x=1&x=2",
        b"&x=" + b"y" * 1_000,
        b"".join(b"&utm_%d=x" % number for number in range(40)),
    ],
)
def test_what_others_put_into_a_link_is_passed_over(decoration: bytes) -> None:
    for query in (GOOD + decoration, decoration.lstrip(b"&") + b"&" + GOOD):
        assert parameters(query, KNOWN, strangers=True) == {"until": "7", "signature": "ab c"}


@pytest.mark.parametrize(
    "query",
    [
        GOOD + b"&until=8",
        GOOD + b"&%75ntil=8",
        GOOD + b"&period",
        GOOD + b"&period=%FF",
        GOOD + b"&period=\xff",
        GOOD + b"&period=%00",
        GOOD + b"&period=" + b"x" * 256,
        b"&".join([b"until=7"] * 1_000),
    ],
)
def test_our_own_are_read_as_strictly_as_ever(query: bytes) -> None:
    with pytest.raises(Refused):
        parameters(query, KNOWN, strangers=True)


@pytest.mark.parametrize("decoration", [b"&x=1", b"&x", b"&", b"&x=%FF"])
def test_where_strangers_are_not_let_be_they_are_said(decoration: bytes) -> None:
    with pytest.raises(Refused):
        parameters(GOOD + decoration, KNOWN)
