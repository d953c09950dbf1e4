"""A price as Stripe describes it, and what it must say to be worked out."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import pairwise
from typing import Any


class PriceError(ValueError):
    """A price that cannot be worked out; the message says what is missing or not understood."""


class Scheme(StrEnum):
    """How a quantity becomes an amount."""

    PER_UNIT = "per_unit"
    GRADUATED = "graduated"
    VOLUME = "volume"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier; amounts in minor units with decimals, `up_to` inclusive and None for the last."""

    up_to: Decimal | None
    unit_amount_decimal: Decimal
    flat_amount_decimal: Decimal


@dataclass(frozen=True, slots=True)
class Package:
    """What a quantity is divided by before it is priced, and which way the quotient is rounded."""

    divide_by: int
    round_up: bool


@dataclass(frozen=True, slots=True)
class Price:
    """A recurring price in one currency."""

    price_id: str
    currency: str
    scheme: Scheme
    tiers: tuple[Tier, ...]
    package: Package | None
    stripe_meter_id: str | None


def parse_price(stripe_price: Mapping[str, Any], currency: str | None = None) -> Price:
    """Read a price object; a currency other than the price's own is looked up in its `currency_options`.

    Stripe leaves `tiers` and `currency_options` out unless they are asked for (`expand[]=tiers`).
    """
    own = str(stripe_price["currency"]).lower()
    wished = own if currency is None else currency.lower()
    amounts = stripe_price if wished == own else _option(stripe_price, wished)
    package = _package(stripe_price)
    scheme = _scheme(stripe_price, package)
    recurring = stripe_price.get("recurring") or {}
    return Price(
        price_id=str(stripe_price["id"]),
        currency=wished,
        scheme=scheme,
        tiers=_tiers(amounts) if scheme in (Scheme.GRADUATED, Scheme.VOLUME) else (_single(amounts),),
        package=package,
        stripe_meter_id=recurring.get("meter"),
    )


def _option(stripe_price: Mapping[str, Any], currency: str) -> Mapping[str, Any]:
    options = stripe_price.get("currency_options") or {}
    found = options.get(currency)
    if found is None:
        raise PriceError(f"price {stripe_price['id']} has no amounts in {currency}")
    return found  # type: ignore[no-any-return]  # what Stripe nests is untyped


def _package(stripe_price: Mapping[str, Any]) -> Package | None:
    transform = stripe_price.get("transform_quantity")
    if transform is None:
        return None
    divide_by, way = int(transform["divide_by"]), transform["round"]
    if divide_by < 1 or way not in ("up", "down"):
        raise PriceError(f"price {stripe_price['id']} divides by {divide_by}, rounding {way}")
    return Package(divide_by, way == "up")


def _scheme(stripe_price: Mapping[str, Any], package: Package | None) -> Scheme:
    billing_scheme, mode = stripe_price.get("billing_scheme", "per_unit"), stripe_price.get("tiers_mode")
    if billing_scheme == "per_unit":
        return Scheme.PER_UNIT if package is None else Scheme.PACKAGE
    if billing_scheme != "tiered" or mode not in ("graduated", "volume"):
        raise PriceError(f"price {stripe_price['id']} has the billing scheme {billing_scheme} with tiers {mode}")
    if package is not None:
        raise PriceError(f"price {stripe_price['id']} has tiers and packages, which Stripe does not allow")
    return Scheme(mode)


def _single(amounts: Mapping[str, Any]) -> Tier:
    unit = _amount(amounts, "unit_amount")
    if unit is None:
        raise PriceError("a price per unit has no unit amount")
    return Tier(None, unit, Decimal(0))


def _tiers(amounts: Mapping[str, Any]) -> tuple[Tier, ...]:
    listed = amounts.get("tiers")
    if not listed:
        raise PriceError("the price has tiers, but Stripe was not asked to show them")
    tiers = tuple(_tier(tier) for tier in listed)
    bounds = [Decimal(0), *(tier.up_to for tier in tiers if tier.up_to is not None)]
    if tiers[-1].up_to is not None or len(bounds) != len(tiers) or any(left >= right for left, right in pairwise(bounds)):
        raise PriceError("the bounds of the tiers do not rise to a last one without a bound")
    return tiers


def _tier(tier: Mapping[str, Any]) -> Tier:
    unit, flat = _amount(tier, "unit_amount"), _amount(tier, "flat_amount")
    if unit is None and flat is None:
        raise PriceError("a tier has neither a unit amount nor a flat amount")
    up_to = tier.get("up_to")
    return Tier(None if up_to in (None, "inf") else _decimal(up_to), unit or Decimal(0), flat or Decimal(0))


def _amount(amounts: Mapping[str, Any], name: str) -> Decimal | None:
    """Prefer the decimal: the integer is null when the amount has decimals."""
    exact = amounts.get(f"{name}_decimal")
    value = amounts.get(name) if exact is None else exact
    return None if value is None else _decimal(value)


def _decimal(value: Any) -> Decimal:
    # An SDK may have made a Decimal of it already; a float would have lost what it was.
    if isinstance(value, float):
        raise PriceError(f"{value!r} is a float, not an exact amount")
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise PriceError(f"{value!r} is no amount") from error
    if not number.is_finite():
        raise PriceError(f"{value!r} is no amount")
    return number
