"""A trace is any CSV: what is met in the wild is read, what can't be read is named."""

from __future__ import annotations

import pytest

from trueup.cli.faults import UsageFault
from trueup.cli.lines import Accepted, RefusedLine
from trueup.cli.traces import TraceOptions, customer_names, parse_map, read_trace

SCALES = {"input_tokens": 0, "output_tokens": 0, "audio_seconds": 3}
MAP = "time=at,meter:input_tokens=in,meter:output_tokens=out"


def read(content: bytes, columns: str = MAP, customers: int = 3) -> list[Accepted | RefusedLine]:
    """The verdicts on a trace named t.csv."""
    return list(read_trace(content, TraceOptions("t.csv", parse_map(columns), customers=customers), SCALES))


def test_byte_order_mark_quotes_blank_lines_and_either_line_end_are_read() -> None:
    """The same two rows, however a spreadsheet wrote them."""
    content = b'\xef\xbb\xbfat,"in",out\r\n\r\n"2023-11-16 18:15:46.6805900",374,44\r\n \r\n2023-11-16 18:15:50.9951690,"396",109'
    events = [item.event for item in read(content) if isinstance(item, Accepted)]
    assert [(e.id, e.quantity, e.event_time_ms) for e in events] == [
        ("t.csv:1:input_tokens", 374, 1_700_158_546_680),
        ("t.csv:1:output_tokens", 44, 1_700_158_546_680),
        ("t.csv:2:input_tokens", 396, 1_700_158_550_995),
        ("t.csv:2:output_tokens", 109, 1_700_158_550_995),
    ]


def test_a_row_and_its_meters_belong_to_one_customer_and_all_customers_are_used() -> None:
    """Spreading is by row, the same way every time."""
    rows = "".join(f"2023-11-16 18:15:{n % 60:02d},1,2\n" for n in range(400))
    content = b"at,in,out\n" + rows.encode()
    first, again = read(content, customers=20), read(content, customers=20)
    assert first == again
    customers = [item.event.customer for item in first if isinstance(item, Accepted)]
    assert customers[0::2] == customers[1::2]
    assert set(customers) == set(customer_names(20))


def test_what_a_row_lacks_is_refused_by_row_and_line() -> None:
    """An empty cell, a word, a float and a short row are four refusals; the other meters of those rows stand."""
    content = b"at,in,out\n2023-11-16 18:15:46,,1\n2023-11-16 18:15:46,x,1\n2023-11-16 18:15:46,1.5,1\nsoon,1,1\n2023-11-16 18:15:46,7"
    verdicts = read(content)
    assert [v.event.quantity for v in verdicts if isinstance(v, Accepted)] == [1, 1, 1, 7]
    assert [(v.line, v.reason) for v in verdicts if isinstance(v, RefusedLine)] == [
        (2, "bad_field"),
        (3, "bad_field"),
        (4, "bad_field"),
        (5, "bad_field"),
        (5, "bad_field"),
        (6, "bad_field"),
    ]


def test_a_row_with_more_cells_than_the_header_is_refused_whole() -> None:
    """A thousand written as 1,000: what stands under which name cannot be told."""
    verdicts = read(b"at,in,out\n2023-11-16 18:15:46,1,000,6\n2023-11-16 18:15:46,1,2,\n")
    assert [(v.line, v.reason) for v in verdicts if isinstance(v, RefusedLine)] == [(2, "bad_field")]
    assert [v.event.quantity for v in verdicts if isinstance(v, Accepted)] == [1, 2]


def test_behind_a_torn_row_nothing_is_read_where_ids_count_rows() -> None:
    """Once the file is mended, its rows must have the ids that they had: two lines that a quote swallowed would shift all behind them."""
    torn = (
        b'id,at,in,out\na,2023-11-16 18:15:46,1,2\nb,"2023-11-16\nc,2023"-11-16 18:15:47,3,4\n'
        b'd,"2023"-11-16,5,6\ne,2023-11-16 18:15:48,7,8\n'
    )
    counted = read(torn)
    assert [v.event.quantity for v in counted if isinstance(v, Accepted)] == [1, 2]
    assert [v.line for v in counted if isinstance(v, RefusedLine)] == [3]
    named = read(torn, f"id=id,{MAP}")
    assert [v.event.id for v in named if isinstance(v, Accepted)] == [
        "a:input_tokens",
        "a:output_tokens",
        "e:input_tokens",
        "e:output_tokens",
    ]


def test_a_column_that_stands_there_twice_is_not_chosen_from() -> None:
    with pytest.raises(UsageFault, match="column in more than once"):
        read(b"at,in,out,in\n2023-11-16 18:15:46,1,2,3\n")


def test_a_column_may_name_the_customer_and_a_meter_have_decimals() -> None:
    """The map says where they stand; decimals become the smallest unit."""
    verdicts = read(b"who,at,len\nacme,2023-11-16 18:15:46,1.25\n", "time=at,customer=who,meter:audio_seconds=len")
    assert [(v.event.customer, v.event.quantity) for v in verdicts if isinstance(v, Accepted)] == [("acme", 1_250)]


@pytest.mark.parametrize(
    "columns",
    [
        "",
        "time=at",
        "meter:input_tokens=in",
        "time=at,time=at,meter:a=in",
        "time,meter:a=in",
        "when=at,meter:a=in",
        "time=a,meter:b=c,meter:b=d",
    ],
)
def test_a_map_that_can_not_be_meant_is_a_usage_fault(columns: str) -> None:
    """Exit code 2 territory: nothing was read yet."""
    with pytest.raises(UsageFault):
        parse_map(columns)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"at,in\n1,2\n", b"\xff\xfe\x00"])
def test_a_file_without_the_columns_is_a_usage_fault(content: bytes) -> None:
    """The sentence names the file and what it lacks."""
    with pytest.raises(UsageFault, match=r"t\.csv"):
        read(content)
