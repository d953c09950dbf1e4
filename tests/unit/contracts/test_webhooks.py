"""A notification's body is read as a database will hold it, or not at all."""

from __future__ import annotations

import json

import pytest

from trueup.contracts.errors import Poison
from trueup.contracts.webhooks import read_event

GOOD = {"id": "evt_1", "type": "invoice.paid", "data": {"object": {"amounts": [1, 2.5, -1e9], "text": "Zürich 🧾", "none": None}}}


def test_what_stripe_sends_is_read_as_it_is() -> None:
    assert read_event(json.dumps(GOOD).encode()) == GOOD
    assert read_event(json.dumps(GOOD, ensure_ascii=False).encode()) == GOOD


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"7",
        b'{"x": NaN}',
        b'{"x": -Infinity}',
        b'{"x": 1e200000}',
        b'{"x": 1e-200000}',
        b'{"x": 1e99999999999999999999999}',
        b'{"x": "\\ud800"}',
        b'{"x": ["a", ["\\udfff"]]}',
        b'{"\\ud800": 1}',
        b"\xff{}",
        b'{"x": ' + b"[" * 100_000,
        b'{"x": ' + b"1" * 5_000 + b"}",
        b'{"x": 0.' + b"1" * 20_000 + b"}",
        b'{"x": 1.' + b"0" * 20_000 + b"e5}",
    ],
)
def test_what_no_database_holds_is_refused(body: bytes) -> None:
    """PostgreSQL's jsonb refuses each of them, and one refusal would stop everything behind it."""
    with pytest.raises(Poison):
        read_event(body)
