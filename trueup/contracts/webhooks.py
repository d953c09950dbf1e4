"""What Stripe tells us, as the door keeps it: the raw body that the signature covers, and what was read from it."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from trueup.contracts.errors import Poison
from trueup.contracts.problems import is_text

_LARGEST_EXPONENT = 1_000
# PostgreSQL keeps a number digit by digit, and has a last one.
_MOST_DIGITS = 4_000


@dataclass(frozen=True, slots=True)
class StripeWebhook:
    """One verified notification; the same `event_id` may come many times and in any order."""

    event_id: str
    type: str
    api_version: str | None
    livemode: bool
    created_ms: int
    received_at_ms: int
    signature: str
    body: bytes


def read_event(body: bytes) -> dict[str, Any]:
    """The event that a notification's body spells; Poison for what is none, or what no JSON of a database holds.

    Python reads more than JSON is: NaN, halves of a surrogate pair, and numbers beyond every range.
    """
    try:
        event = json.loads(body.decode("utf-8"), parse_constant=_no_number, parse_float=_in_range, object_pairs_hook=_whole_names)
    except (ValueError, ArithmeticError, RecursionError) as fault:
        raise Poison(f"no JSON: {type(fault).__name__}: {str(fault)[:100]}") from fault
    if not isinstance(event, dict):
        raise Poison("no object")
    return event


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _in_range(text: str) -> float:
    if len(text) > _MOST_DIGITS or abs(Decimal(text).adjusted()) > _LARGEST_EXPONENT:
        raise ValueError("a number beyond every range")
    return float(text)


def _whole_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, value in pairs:
        if not is_text(name) or not _whole(value):
            raise ValueError("half of a surrogate pair")
    return dict(pairs)


def _whole(value: object) -> bool:
    """Whether all texts of a value are; objects inside were looked at when they were read."""
    if isinstance(value, list):
        return all(_whole(item) for item in value)
    return is_text(value) if isinstance(value, str) else True
