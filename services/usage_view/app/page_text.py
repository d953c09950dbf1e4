"""The view model in words and figures for people: money as a customer writes it, dates in UTC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from babel.dates import format_date, format_datetime
from babel.numbers import format_currency, format_decimal, get_currency_symbol

from services.usage_view.app.reading import Reading
from services.usage_view.app.shown import quantity_text
from services.usage_view.core.bill import Bill, BillLine, MeterUsage
from services.usage_view.core.billing_period import BillingPeriod
from trueup.contracts.pricing import decimals_of
from trueup.contracts.quantities import to_decimal_text

LOCALE = "en_US"
MOST_PERIODS = 13
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_PLACES = 12


@dataclass(frozen=True, slots=True)
class PeriodLink:
    """A period that can be looked at."""

    text: str
    href: str
    shown: bool


@dataclass(frozen=True, slots=True)
class LineText:
    """A row of the first table."""

    meter: str
    says: str
    quantity: str
    unit: str
    price: str
    price_says: str
    amount: str


@dataclass(frozen=True, slots=True)
class MeterText:
    """A row of the second table."""

    meter: str
    unit: str
    quantity: str
    in_flight: str
    under_review: str
    corrections: str


@dataclass(frozen=True, slots=True)
class PageText:
    """Everything the page says."""

    customer: str
    from_day: str
    to_day: str
    periods: tuple[PeriodLink, ...]
    total: str
    total_says: str
    fresh: str
    lines: tuple[LineText, ...]
    meters: tuple[MeterText, ...]


def page_text(reading: Reading, href_of: Callable[[int], str]) -> PageText:
    """Put a bill into words; `href_of` gives the address of the page of the period that starts then."""
    bill = reading.bill
    return PageText(
        customer=bill.customer,
        from_day=_day(bill.start_ms),
        to_day=_day(bill.end_ms),
        periods=_links(bill, reading.periods, href_of),
        total="—" if bill.total_minor is None else _money(bill.total_minor, bill.currency),
        total_says=_total_says(bill, reading.now_ms),
        fresh=_fresh(reading.data_through_ms),
        lines=tuple(_line(line, bill) for line in bill.lines),
        meters=tuple(_meter(meter) for meter in bill.meters),
    )


def _links(bill: Bill, periods: tuple[BillingPeriod, ...], href_of: Callable[[int], str]) -> tuple[PeriodLink, ...]:
    """Offer the newest periods, the shown one among them. Two may start together: the longer one stands for both."""
    spans = {period.start_ms: period.end_ms for period in periods} | {bill.start_ms: bill.end_ms}
    newest = sorted(spans.items(), reverse=True)[:MOST_PERIODS]
    return tuple(PeriodLink(f"{_day(start)} – {_day(end)}", href_of(start), start == bill.start_ms) for start, end in newest)


def _total_says(bill: Bill, now_ms: int) -> str:
    if bill.total_minor is None and len({line.currency for line in bill.lines}) > 1:
        return "The lines are in several currencies, so there is no one total."
    if bill.total_minor is None:
        return "A price was changed or could not be worked out, so there is no total yet."
    if bill.invoices:
        return "As on the final invoice, before discounts, taxes and credits."
    if bill.end_ms <= now_ms:
        return "Before discounts, taxes and credits. The period has ended; its invoice is not final yet."
    return "So far, before discounts, taxes and credits. What is used until the end of the period is added."


def _fresh(data_through_ms: int | None) -> str:
    if data_through_ms is None:
        return "Usage of the last moments may be missing."
    return f"Everything that reached us before {_moment(data_through_ms)} is counted."


def _line(line: BillLine, bill: Bill) -> LineText:
    says = [f"tier {line.tier}"] if line.tier is not None else []
    if (line.start_ms, line.end_ms) != (bill.start_ms, bill.end_ms):
        says.append(f"{_moment(line.start_ms)} to {_moment(line.end_ms)}")
    price_says = [f"for each {line.package_units}"] if line.package_units is not None else []
    if line.flat_amount_decimal:
        price_says.append(f"and {_unit_price(line.flat_amount_decimal, line.currency)} once")
    return LineText(
        meter=_spoken(line.meter),
        says=", ".join(says),
        quantity=_grouped(quantity_text(line.quantity, line.scale)),
        unit=line.unit,
        price="—" if line.unit_amount_decimal is None else _unit_price(line.unit_amount_decimal, line.currency),
        price_says=", ".join(price_says),
        amount="—" if line.amount_minor is None else _money(line.amount_minor, line.currency),
    )


def _meter(meter: MeterUsage) -> MeterText:
    def text(quantity: int) -> str:
        return _grouped(to_decimal_text(quantity, meter.scale))

    return MeterText(
        _spoken(meter.meter), meter.unit, text(meter.quantity), text(meter.in_flight), text(meter.under_review), text(meter.corrections)
    )


def _spoken(meter: str) -> str:
    """Names of meters are written for programs."""
    return meter.replace("_", " ")


def _money(amount_minor: int, currency: str | None) -> str:
    if currency is None:
        return format_decimal(amount_minor, locale=LOCALE)
    places = decimals_of(currency)
    return _in_currency(Decimal(amount_minor).scaleb(-places), currency, "0" * places)


def _unit_price(amount_minor: Decimal, currency: str) -> str:
    places = decimals_of(currency)
    return _in_currency(amount_minor.scaleb(-places), currency, "0" * places + "#" * _MOST_PLACES)


def _in_currency(amount: Decimal, currency: str, places: str) -> str:
    gap = "\N{NO-BREAK SPACE}" if get_currency_symbol(currency.upper(), locale=LOCALE).isalpha() else ""
    pattern = f"¤{gap}#,##0.{places}" if places else f"¤{gap}#,##0"
    return format_currency(amount, currency.upper(), format=pattern, locale=LOCALE, currency_digits=False)


def _grouped(quantity: str) -> str:
    """Group the whole digits; the text's own decimal places stay as they are."""
    places = len(quantity.partition(".")[2])
    return format_decimal(Decimal(quantity), format="#,##0." + "0" * places if places else "#,##0", locale=LOCALE)


def _day(instant_ms: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=instant_ms)
    return format_date(moment.date(), "d MMM y", locale=LOCALE) if instant_ms % 86_400_000 == 0 else _moment(instant_ms)


def _moment(instant_ms: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=instant_ms)
    return format_datetime(moment, "d MMM y, HH:mm:ss", tzinfo=UTC, locale=LOCALE)
