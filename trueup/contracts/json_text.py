"""JSON as it is meant: each name once, no NaN, and no number that lost a digit on the way in."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from trueup.contracts.problems import malformed, quote


class Inexact(str):
    """The text of a JSON number with a point or an exponent: it would have become a float."""


def read(body: bytes) -> Any:
    """The value that a body spells; Refused when it spells none, or more than one."""
    try:
        text = body.decode("utf-8")
        return json.loads(text, object_pairs_hook=_once_each, parse_float=Inexact, parse_constant=_no_number)
    except UnicodeDecodeError as fault:
        raise malformed(f"not UTF-8 at byte {fault.start}") from fault
    except RecursionError as fault:
        raise malformed("nested too deeply") from fault
    except json.JSONDecodeError as fault:
        raise malformed(f"{fault.msg} at character {fault.pos}") from fault
    except ValueError as fault:
        raise malformed(str(fault)[:200]) from fault


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {quote(twice)} stands twice in one object")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
