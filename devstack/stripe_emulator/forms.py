"""Form bodies and query strings as Stripe reads them: brackets nest, whatever the client percent-encodes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from devstack.stripe_emulator import errors

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


def parse_form(text: str) -> dict[str, Any]:
    """Read ``a=1&b[c]=2&d[0][e]=3&f[]=4`` into nested maps; a list is a map whose names are numbers, until someone asks for a list."""
    tree: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=False, errors="strict")
    except UnicodeDecodeError as error:
        raise errors.StripeError("Invalid UTF-8 in the request") from error
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else [name]
        _place(tree, path, value)
    return tree


def form_of_json(value: Any) -> Any:
    """Give a JSON value the shape of a parsed form, so that the set-up doors share the code of the real ones."""
    if isinstance(value, dict):
        return {name: form_of_json(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return {str(number): form_of_json(part) for number, part in enumerate(value)}
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _place(tree: dict[str, Any], path: list[str], value: str) -> None:
    """Put one value where its bracketed name says; an empty bracket takes the next free number."""
    for step in path[:-1]:
        below = tree.setdefault(step or str(len(tree)), {})
        if not isinstance(below, dict):
            raise errors.invalid_object(path[0])
        tree = below
    tree[path[-1] or str(len(tree))] = value


def _list_of(value: Any) -> list[Any] | None:
    """Read a map whose names are all numbers as a list; None where it is none."""
    if not isinstance(value, dict) or not all(name.isascii() and name.isdecimal() for name in value):
        return None
    return [value[name] for name in sorted(value, key=int)]


class Parameters:
    """The parameters of one request, or of one nested map in it, read by name and kind."""

    def __init__(self, tree: dict[str, Any], *, accepts: Iterable[str], requires: Iterable[str] = (), inside: str = "") -> None:
        self._tree = tree
        self._inside = inside
        known = {*accepts, *requires}
        for name in tree:
            if name not in known:
                raise errors.unknown_parameter(self._full(name))
        for name in requires:
            if name not in tree:
                raise errors.missing_parameter(self._full(name))

    def __contains__(self, name: str) -> bool:
        return name in self._tree

    def is_text(self, name: str) -> bool:
        """Say whether a parameter came as plain text, not as a map."""
        return isinstance(self._tree.get(name), str)

    def _full(self, name: str) -> str:
        return f"{self._inside}[{name}]" if self._inside else name

    def text(self, name: str, *, at_most: int = 5000) -> str | None:
        """Give a text, or None where it was left out."""
        value = self._tree.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise errors.StripeError(f"Invalid string: {value}", parameter=self._full(name))
        if value == "":
            raise errors.empty_parameter(self._full(name))
        if len(value) > at_most:
            raise errors.too_long(self._full(name), value, at_most)
        return value

    def needed_text(self, name: str, *, at_most: int = 5000) -> str:
        """Give a text that must be there."""
        value = self.text(name, at_most=at_most)
        if value is None:
            raise errors.missing_parameter(self._full(name))
        return value

    def integer(self, name: str) -> int | None:
        """Give a whole number, or None where it was left out."""
        value = self.text(name)
        if value is None:
            return None
        if not _INTEGER.fullmatch(value):
            raise errors.invalid_integer(self._full(name), value)
        return int(value)

    def needed_integer(self, name: str) -> int:
        """Give a whole number that must be there."""
        value = self.integer(name)
        if value is None:
            raise errors.missing_parameter(self._full(name))
        return value

    def decimal(self, name: str) -> Decimal | None:
        """Give a decimal number in plain notation, or None where it was left out."""
        value = self.text(name, at_most=40)
        if value is None:
            return None
        if not _DECIMAL.fullmatch(value):
            raise errors.StripeError(f"Invalid decimal: {value}", code="parameter_invalid_decimal", parameter=self._full(name))
        return Decimal(value)

    def boolean(self, name: str) -> bool | None:
        """Give true or false, or None where it was left out."""
        value = self.text(name)
        if value is None:
            return None
        if value not in ("true", "false"):
            raise errors.StripeError(f"Invalid boolean: {value}", parameter=self._full(name))
        return value == "true"

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Give a word of a closed list, or None where it was left out."""
        value = self.text(name)
        if value is not None and value not in choices:
            raise errors.invalid_choice(self._full(name), choices)
        return value

    def mapping(self, name: str) -> dict[str, str]:
        """Give a flat map of texts; empty where it was left out."""
        value = self._tree.get(name, {})
        if not isinstance(value, dict):
            raise errors.invalid_object(self._full(name))
        for key, part in value.items():
            if not isinstance(part, str):
                kind = "map" if isinstance(part, dict) else "slice"
                raise errors.StripeError(f"value is not a string (Kind: {kind})", parameter=f"{self._full(name)}[{key}]")
        return dict(value)

    def texts(self, name: str) -> list[str]:
        """Give a list of texts; empty where it was left out."""
        value = _list_of(self._tree.get(name, {}))
        if value is None or not all(isinstance(part, str) for part in value):
            raise errors.StripeError("Invalid array", parameter=self._full(name))
        return value

    def child(self, name: str, *, accepts: Iterable[str], requires: Iterable[str] = ()) -> Parameters | None:
        """Give a nested map, or None where it was left out."""
        value = self._tree.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise errors.invalid_object(self._full(name))
        return Parameters(value, accepts=accepts, requires=requires, inside=self._full(name))

    def children(self, name: str, *, accepts: Iterable[str], requires: Iterable[str] = ()) -> list[Parameters]:
        """Give a list of nested maps; empty where it was left out."""
        value = _list_of(self._tree.get(name, {}))
        if value is None or not all(isinstance(part, dict) for part in value):
            raise errors.StripeError("Invalid array", parameter=self._full(name))
        accepted = tuple(accepts)
        return [
            Parameters(part, accepts=accepted, requires=requires, inside=f"{self._full(name)}[{number}]")
            for number, part in enumerate(value)
        ]
