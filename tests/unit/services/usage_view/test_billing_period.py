"""Which period a word or an instant means, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.usage_view.core.billing_period import billing_periods, chosen, read_wish
from trueup.ledger.customer_usage import ItemPeriod


def at(day: str) -> int:
    """Milliseconds of a UTC date or instant."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000


def item(start: str, end: str, subscription: str = "sub_1", name: str = "si_1", meter: str = "tokens") -> ItemPeriod:
    """A period of an item."""
    return ItemPeriod(name, subscription, "cus_acme", meter, meter, "price_1", "usd", at(start), at(end))


OCTOBER, NOVEMBER = item("2026-10-01", "2026-11-01"), item("2026-11-01", "2026-12-01")
ODD = item("2026-10-07T10:17:42", "2026-11-07T10:17:42")
CANCELLED = item("2026-10-01", "2026-10-15T12:00:00")
SECOND = item("2026-10-20", "2026-11-20", "sub_2", "si_2")

CHOICES = [
    # items, wish, now, start and end of what is meant; None: nobody knows such a one
    ([OCTOBER, NOVEMBER], "current", "2026-11-10", ("2026-11-01", "2026-12-01")),
    ([OCTOBER, NOVEMBER], "previous", "2026-11-10", ("2026-10-01", "2026-11-01")),
    ([OCTOBER, NOVEMBER], "current", "2026-11-01", ("2026-11-01", "2026-12-01")),
    ([OCTOBER, NOVEMBER], "current", "2026-10-31T23:59:59", ("2026-10-01", "2026-11-01")),
    ([OCTOBER, NOVEMBER], at("2026-10-01"), "2026-11-10", ("2026-10-01", "2026-11-01")),
    ([OCTOBER, NOVEMBER], at("2026-10-02"), "2026-11-10", None),
    ([OCTOBER, NOVEMBER], at("2026-09-01"), "2026-11-10", None),
    ([OCTOBER], "previous", "2026-10-10", None),
    ([ODD], "current", "2026-10-07T10:17:42", ("2026-10-07T10:17:42", "2026-11-07T10:17:42")),
    ([ODD], "current", "2026-10-07T10:17:41", ("2026-10-01", "2026-10-07T10:17:42")),
    # Cancelled on the 15th: what comes afterwards in that month is billed by nobody, and is not shown as October's bill.
    ([CANCELLED], "current", "2026-10-20", ("2026-10-15T12:00:00", "2026-11-01")),
    ([CANCELLED], "previous", "2026-10-20", ("2026-10-01", "2026-10-15T12:00:00")),
    ([CANCELLED], "current", "2026-12-05", ("2026-12-01", "2027-01-01")),
    # Two subscriptions with periods of their own: the one that began last is the current one, both can be named.
    ([OCTOBER, SECOND], "current", "2026-10-25", ("2026-10-20", "2026-11-20")),
    ([OCTOBER, SECOND], at("2026-10-01"), "2026-10-25", ("2026-10-01", "2026-11-01")),
    # Nobody ever subscribed: calendar months.
    ([], "current", "2026-02-10", ("2026-02-01", "2026-03-01")),
    ([], "previous", "2026-01-31", ("2025-12-01", "2026-01-01")),
    ([], at("2026-01-01"), "2026-02-10", ("2026-01-01", "2026-02-01")),
    ([], at("2026-01-02"), "2026-02-10", None),
    ([], at("2026-03-01"), "2026-02-10", None),
]


@pytest.mark.parametrize(("items", "wish", "now", "meant"), CHOICES)
def test_what_is_meant(items: list[ItemPeriod], wish: str | int, now: str, meant: tuple[str, str] | None) -> None:
    found = chosen(billing_periods(items), wish, at(now))
    assert (None if found is None else (found.start_ms, found.end_ms)) == (None if meant is None else (at(meant[0]), at(meant[1])))


def test_a_swap_half_way_is_on_the_same_bill() -> None:
    """Items of a subscription that lie within another's period are billed with it; two subscriptions of one month are shown together."""
    swapped = item("2026-10-10", "2026-11-01", name="si_2")
    other = item("2026-10-01", "2026-11-01", "sub_2", "si_3")
    (period,) = billing_periods([OCTOBER, swapped, other])
    assert {one.subscription_item_id for one in period.items} == {"si_1", "si_2", "si_3"}


WISHES = [
    ("current", "current"),
    ("previous", "previous"),
    ("2026-11-01", at("2026-11-01")),
    ("2026-11-01T00:00:00Z", at("2026-11-01")),
    ("2026-11-01T02:00:00+02:00", at("2026-11-01")),
    *(
        (bad, None)
        for bad in (
            "",
            "next",
            "2026",
            "2026-11",
            "2026-13-01",
            "2026-11-01T00:00:00",
            "2026-11-01 00:00:00Z",
            "1793491200",
            "２０２６-11-01",
        )
    ),
]


@pytest.mark.parametrize(("text", "meant"), WISHES)
def test_how_a_period_is_written(text: str, meant: str | int | None) -> None:
    """An instant names its offset; what merely looks like one is refused."""
    if meant is None:
        with pytest.raises(ValueError):
            read_wish(text)
    else:
        assert read_wish(text) == meant
