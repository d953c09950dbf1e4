"""Which line of a TOML text a key stands on: `tomllib` does not say, and a fault without its line is half a fault."""

import re
from collections.abc import Mapping

Path = tuple[str | int, ...]

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEY})\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(rf"\s*({_KEY})\s*=")
_PARTS = re.compile(_PART)


def lines_by_path(text: str) -> Mapping[Path, int]:
    """Map every key and table of a TOML text that parses to its first line; a list's index is a part of its path."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header is not None:
            path = _resolved(_parts(header.group(2)), counts)
            if header.group(1) == "[[":
                counts[path] = counts.get(path, -1) + 1
                path = (*path, counts[path])
            table = path
            _note(found, table, number)
            continue
        assignment = _ASSIGNMENT.match(line)
        if assignment is not None:
            _note(found, table + _parts(assignment.group(1)), number)
    return found


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """Give the line of a path, or of the nearest table or key around it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _parts(key: str) -> tuple[str, ...]:
    return tuple([part.strip("\"'") for part in _PARTS.findall(key)])


def _resolved(parts: tuple[str, ...], counts: Mapping[Path, int]) -> Path:
    """Put the index of the newest element behind every part (but the last) that names a list of tables."""
    path: Path = ()
    for position, part in enumerate(parts):
        path = (*path, part)
        if position < len(parts) - 1 and path in counts:
            path = (*path, counts[path])
    return path


def _note(found: dict[Path, int], path: Path, number: int) -> None:
    for length in range(1, len(path) + 1):
        found.setdefault(path[:length], number)
