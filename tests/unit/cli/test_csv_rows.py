"""A CSV's rows: whatever cannot be read is told with its line, and takes nothing along in silence."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from trueup.cli.csv_rows import Row, TornRow, rows
from trueup.cli.customers import rows_of
from trueup.cli.events import read_input
from trueup.cli.faults import UsageFault

LONG = "x" * 200_000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b\r\n1,2\r\n", [(1, ["a", "b"]), (2, ["1", "2"])]),
        ("a\n\n \nb", [(1, ["a"]), (4, ["b"])]),
        ('a,"two\nlines"\nb,c\n', [(2, ["a", "two\nlines"]), (3, ["b", "c"])]),
        (f"a,{LONG}\nb,c\n", [(1, ["a", LONG]), (2, ["b", "c"])]),
    ],
)
def test_rows_are_read_with_the_line_they_end_on(text: str, found: list[tuple[int, list[str]]]) -> None:
    assert [(row.line, row.cells) for row in rows(text) if isinstance(row, Row)] == found
    assert not [row for row in rows(text) if isinstance(row, TornRow)]


def test_a_quote_that_is_never_closed_takes_no_row_in_silence() -> None:
    """Everything behind it was one cell of a column that nobody asked for: 50 rows were not published, and nothing was refused."""
    read = list(rows('a,b\n1,ok\n2,"open\n' + "3,x\n" * 50))
    assert [row.cells for row in read if isinstance(row, Row)] == [["a", "b"], ["1", "ok"]]
    (torn,) = [row for row in read if isinstance(row, TornRow)]
    assert (torn.line, "line 3 is never closed" in torn.detail, "up to line 53" in torn.detail) == (3, True, True)


def test_a_row_that_is_quoted_wrongly_is_the_only_one_that_is_lost() -> None:
    read = list(rows('a,b\n"1"0,x\n2,y\n'))
    assert [row.cells for row in read if isinstance(row, Row)] == [["a", "b"], ["2", "y"]]
    assert [row.line for row in read if isinstance(row, TornRow)] == [2]


def test_a_quote_that_closes_in_a_later_row_tells_of_all_the_lines_it_took() -> None:
    """Whoever sends line 2 again, and that line only, would lose the two behind it."""
    read = list(rows('a,b\n1,"open\n2,x\n3,"y"\n4,z\n'))
    assert [row.cells for row in read if isinstance(row, Row)] == [["a", "b"], ["4", "z"]]
    (torn,) = [row for row in read if isinstance(row, TornRow)]
    assert (torn.line, "line 2 goes on to line 4, and none of these lines was read" in torn.detail) == (2, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('customer,stripe_customer\nacme,cus_1\n"open,cus_2\nglobex,cus_3\n', "line 3 is never closed"),
        ("customer,stripe_customer,customer\nacme,cus_1,other\n", "has column customer more than once"),
        ("customer\nacme\n", "has no column stripe_customer"),
        ("", "has no column customer, stripe_customer"),
        ("customer,stripe_customer\nacme,cus_1,more\n", "line 2 has more cells"),
    ],
)
def test_mappings_are_read_as_a_whole_or_not_at_all(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mappings.csv"
    file.write_text(text)
    with pytest.raises(UsageFault, match=said):
        list(rows_of(file))


def test_what_comes_from_a_pipe_keeps_its_name_when_it_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name goes into ids: the good rows of a file that is mended and sent again must be the same events, not counted twice."""

    def name(content: bytes) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return read_input("-")[0]

    assert name(b"at,in\n1,2\n1,x\n") == name(b"at,in\n1,2\n1,3\n")
