"""Named SQL: every statement the code runs stands in ../sql/queries/<file>.sql under a `-- name: x` line."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from trueup.contracts.errors import Broken

QUERIES = Path(__file__).parents[1] / "sql" / "queries"
_NAME = "-- name: "


@cache
def load(file: str) -> Mapping[str, bytes]:
    """The statements of one file by name. Bytes, because psycopg takes those as SQL without asking where they are from."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in (QUERIES / f"{file}.sql").read_text(encoding="utf-8").splitlines():
        if line.startswith(_NAME):
            name = line.removeprefix(_NAME).strip()
            if name in found:
                raise Broken(f"{file}.sql names {name} twice")
            current = found[name] = []
        elif current is not None and not line.lstrip().startswith("--"):
            current.append(line)
    return MappingProxyType({name: _statement(lines) for name, lines in found.items()})


def _statement(lines: list[str]) -> bytes:
    return "\n".join(lines).strip().rstrip(";").encode()
