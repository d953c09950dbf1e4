"""The view model as JSON: quantities and prices as decimal strings, money in whole minor units."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.usage_view.app.reading import Parts
from services.usage_view.core.bill import Bill, BillLine, MeterUsage
from trueup.contracts.quantities import to_decimal_text
from trueup.runtime.clock import rfc3339


def in_plain(value: Decimal) -> str:
    """Write a decimal without an exponent and without zeros that say nothing."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity_text(quantity: Decimal, scale: int) -> str:
    """Write a line's quantity with the decimal places of its meter; more, where a tier's bound or Stripe has more."""
    whole, _, places = in_plain(quantity).partition(".")
    return f"{whole}.{places.ljust(scale, '0')}" if places or scale else whole


def bill_in_json(bill: Bill, data_through_ms: int | None, by: str | None = None, parts: Parts = ()) -> dict[str, Any]:
    """Give the object of contract §4 and what we add to it; `by` adds to each meter what each value of that dimension used."""
    told: dict[str, Any] = {
        "customer": bill.customer,
        "period": {"start": rfc3339(bill.start_ms), "end": rfc3339(bill.end_ms)},
        "data_through": None if data_through_ms is None else rfc3339(data_through_ms),
        "currency": bill.currency,
        "meters": [_meter(meter) for meter in bill.meters],
        "lines": [_line(line) for line in bill.lines],
        "total_minor": bill.total_minor,
        "invoices": list(bill.invoices),
        "invoices_disagreeing": list(bill.disagreeing),
    }
    if by is not None:
        told["by"] = by
        for meter, shown in zip(bill.meters, told["meters"], strict=True):
            own = [(value, quantity) for name, value, quantity in parts if name == meter.meter]
            shown["by"] = [{"value": value, "quantity": to_decimal_text(quantity, meter.scale)} for value, quantity in own]
    return told


def _meter(meter: MeterUsage) -> dict[str, Any]:
    return {
        "meter": meter.meter,
        "unit": meter.unit,
        "quantity": to_decimal_text(meter.quantity, meter.scale),
        "in_flight": to_decimal_text(meter.in_flight, meter.scale),
        "under_review": to_decimal_text(meter.under_review, meter.scale),
        "corrections": to_decimal_text(meter.corrections, meter.scale),
    }


def _line(line: BillLine) -> dict[str, Any]:
    return {
        "meter": line.meter,
        "price_id": line.price_id,
        "currency": line.currency,
        "tier": line.tier,
        "quantity": quantity_text(line.quantity, line.scale),
        "unit_amount_decimal": None if line.unit_amount_decimal is None else in_plain(line.unit_amount_decimal),
        "amount_minor": line.amount_minor,
        "flat_amount_decimal": in_plain(line.flat_amount_decimal),
        "package_units": line.package_units,
        "period": {"start": rfc3339(line.start_ms), "end": rfc3339(line.end_ms)},
    }
