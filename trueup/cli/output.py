"""Data goes to stdout, talk to stderr; JSON on demand, a table on a terminal, tab-separated rows elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

Row = Mapping[str, Any]


def say(sentence: str) -> None:
    """Talk: what the verb is doing, for a person."""
    print(sentence, file=sys.stderr, flush=True)


def plain(value: object) -> object:
    """A value as JSON can hold it without losing anything: decimals stay text, instants are RFC 3339 in UTC."""
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date() | Decimal() | UUID():
            return str(value)
        case bytes():
            return value.hex()
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form here")


def emit_json(data: object) -> None:
    """One JSON document on stdout."""
    print(json.dumps(data, default=plain, ensure_ascii=False))


def cell(value: object) -> str:
    """A value as one cell of a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat(sep=" ").replace("+00:00", "Z")
        case dict() | list():
            return json.dumps(value, default=plain, ensure_ascii=False)
        case _:
            return str(value)


def emit_rows(rows: Sequence[Row], columns: Iterable[str], *, as_json: bool) -> None:
    """Rows of a verb: an array with `--json`, else the named columns."""
    if as_json:
        emit_json([dict(row) for row in rows])
        return
    names = list(columns)
    if sys.stdout.isatty():
        table = Table(*names, box=None, header_style="bold")
        for row in rows:
            table.add_row(*[cell(row.get(name)) for name in names])
        Console().print(table)
        return
    print("\t".join(names))
    for row in rows:
        print("\t".join(cell(row.get(name)).replace("\t", " ").replace("\n", " ") for name in names))
    sys.stdout.flush()


def emit_record(record: Row, *, as_json: bool) -> None:
    """One object: JSON with `--json`, else a line per field."""
    if as_json:
        emit_json(dict(record))
        return
    for name, value in record.items():
        print(f"{name}: {cell(value)}")
