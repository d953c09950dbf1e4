"""From a quantity to an amount, tier by tier, with exact fractions until the line is rounded."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from trueup.contracts.pricing.price import Price, Scheme, Tier
from trueup.contracts.pricing.rounding import to_minor_units

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class PricedLine:
    """What one tier bills: `quantity` in the meter's unit, as used, also where packages are priced. `tier` counts from 1."""

    tier: int
    quantity: Decimal
    unit_amount_decimal: Decimal
    flat_amount_decimal: Decimal
    amount_minor: int


@dataclass(frozen=True, slots=True)
class PricedLines:
    """The lines of one subscription item's usage and their sum."""

    lines: tuple[PricedLine, ...]
    amount_minor: int


def amount_of(price: Price, quantity: Decimal) -> PricedLines:
    """Work out what a period's quantity costs; a negative quantity is billed as none, as Stripe does.

    Sources: "Pricing models" (per unit, volume, graduated, flat fees: the first tier's flat fee is billed at quantity 0 too) and
    "Transform quantities" (packages), both in Stripe's documentation. Between whole units a tier ends exactly at its bound.
    """
    used = max(quantity, _ZERO)
    match price.scheme:
        case Scheme.GRADUATED:
            lines = _graduated(price.tiers, used)
        case Scheme.VOLUME:
            lines = (_volume(price.tiers, used),)
        case Scheme.PER_UNIT | Scheme.PACKAGE:
            lines = (_line(1, used, _packages(price, used), price.tiers[0]),)
    return PricedLines(lines, sum(line.amount_minor for line in lines))


def amount_of_smallest(price: Price, quantity: int, scale: int) -> PricedLines:
    """Work out the amount of a quantity that is kept in the meter's smallest unit."""
    return amount_of(price, Decimal((quantity < 0, tuple(int(digit) for digit in str(abs(quantity))), -scale)))


def marginal_amount(price: Price, billed: Decimal, more: Decimal) -> int:
    """Say what a further quantity would have cost on top of what is billed already: in its tier, its package, its rounding."""
    exact = Fraction(billed) + Fraction(more)
    return amount_of(price, _decimal_of(exact)).amount_minor - amount_of(price, billed).amount_minor


def _decimal_of(value: Fraction) -> Decimal:
    """Write a sum of decimals as a decimal without the context's precision getting a say."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    whole = int(value * 10**places)
    return Decimal((whole < 0, tuple(int(digit) for digit in str(abs(whole))), -places))


def _packages(price: Price, used: Decimal) -> Fraction:
    if price.package is None:
        return Fraction(used)
    quotient = Fraction(used) / price.package.divide_by
    down = quotient.numerator // quotient.denominator
    return Fraction(down + (price.package.round_up and quotient != down))


def _volume(tiers: tuple[Tier, ...], used: Decimal) -> PricedLine:
    """Price everything in the tier that the whole quantity reaches."""
    for number, tier in enumerate(tiers, start=1):
        if tier.up_to is None or used <= tier.up_to:
            return _line(number, used, Fraction(used), tier)
    raise AssertionError("the last tier has no bound")


def _graduated(tiers: tuple[Tier, ...], used: Decimal) -> tuple[PricedLine, ...]:
    """Price each tier's own part; a tier that nothing falls into is no line, but for the first."""
    lines: list[PricedLine] = []
    below = Fraction(0)
    for number, tier in enumerate(tiers, start=1):
        above = Fraction(used) if tier.up_to is None else min(Fraction(used), Fraction(tier.up_to))
        if number > 1 and above <= below:
            break
        part = above - below
        lines.append(_line(number, _decimal_of(part), part, tier))
        below = above
    return tuple(lines)


def _line(number: int, quantity: Decimal, priced: Fraction, tier: Tier) -> PricedLine:
    exact = priced * Fraction(tier.unit_amount_decimal) + Fraction(tier.flat_amount_decimal)
    return PricedLine(number, quantity, tier.unit_amount_decimal, tier.flat_amount_decimal, to_minor_units(exact))
