"""Quantities are integers in the meter's smallest unit; this is the one place that writes, reads or rounds them."""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

from trueup.contracts.events import UsageEvent
from trueup.contracts.meters import Aggregation, Meter

_DECIMAL_TEXT = re.compile(r"(-?)([0-9]{1,40})(?:\.([0-9]{1,40}))?", re.ASCII)
# Wide enough that no float times any scale loses a digit before the one rounding below.
_EXACT = Context(prec=800, rounding=ROUND_HALF_EVEN)


def billable_quantity(event: UsageEvent, meter: Meter) -> int:
    """Give what an event weighs on its meter, in the smallest unit."""
    if meter.aggregation is Aggregation.SUM:
        return event.quantity
    return -1 if event.quantity < 0 or event.corrects is not None else 1


def to_decimal_text(quantity: int, scale: int) -> str:
    """Write a quantity in the meter's unit: plain notation, every decimal place of the scale shown."""
    if scale == 0:
        return str(quantity)
    digits = str(abs(quantity)).rjust(scale + 1, "0")
    sign = "-" if quantity < 0 else ""
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}"


def from_decimal_text(text: str, scale: int) -> int:
    """Read a quantity written in the meter's unit; ValueError when it is no plain decimal or has more places than the scale."""
    found = _DECIMAL_TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no plain decimal number")
    sign, whole, places = found.group(1), found.group(2), found.group(3) or ""
    if len(places) > scale:
        raise ValueError(f"{text!r} has {len(places)} decimal places; the meter's scale is {scale}")
    magnitude = int(whole + places.ljust(scale, "0"))
    return -magnitude if sign else magnitude


def summary_to_smallest(value: float, scale: int) -> int:
    """Turn a float from Stripe into the smallest unit, through its shortest text: `int(value * 10**scale)` is off by one for some."""
    scaled = _EXACT.scaleb(Decimal(repr(value)), scale)
    return int(scaled.to_integral_value(rounding=ROUND_HALF_EVEN, context=_EXACT))
