"""Rows of a CSV as spreadsheets and databases write it: byte order mark, CRLF, quotes and blank lines are met, a torn quote is found."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

# All of the text is in memory already: a large cell that nobody asked for must not end the reading in its middle.
LARGEST_CELL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A row's cells, and the line of the file on which it ends."""

    line: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class TornRow:
    """What cannot be read as a row, and the line of the file on which it begins."""

    line: int
    detail: str


def decoded(content: bytes) -> str:
    """The text of a file without its byte order mark; UnicodeDecodeError when it is not UTF-8."""
    return content.decode("utf-8-sig")


def rows(text: str) -> Iterator[Row | TornRow]:
    """Every row that is not blank, in order. A quote that nobody closes takes all that follows with it, and is told by where it began."""
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            yield TornRow(begins, _said(fault, begins, reader.line_num))
            continue
        if any(cell.strip() for cell in cells):
            yield Row(reader.line_num, cells)


def _said(fault: csv.Error, begins: int, ends: int) -> str:
    if "unexpected end of data" in str(fault):
        return f"a quote that opens in the row of line {begins} is never closed: everything up to line {ends} was taken for one cell"
    if ends > begins:
        return f"a quote that opens in the row of line {begins} goes on to line {ends}, and none of these lines was read: {fault}"
    return f"the row of line {begins} is not written as CSV quotes cells: {fault}"
