"""The one place where an amount of money is rounded, and how many decimals a currency shows."""

from fractions import Fraction

# Stripe, "Supported currencies", zero-decimal and three-decimal currencies. ISK and UGX are there too, but are written with two
# decimals for the sake of older integrations (the same page, special cases), so they are not in the first list.
_ZERO_DECIMALS = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"},
)
_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


def to_minor_units(amount: Fraction) -> int:
    """Round the exact amount of one invoice line to whole minor units: to the nearest, a half upwards, away from zero.

    The rule: "Rounding occurs on the line item level of your invoices … the calculated amount for the line item would be
    0.05 * 30 = 1.5, which rounds up to 2 cents. If you have multiple line items, each is rounded before summing up the total"
    (Stripe, "Manage prices", Rounding; formerly "Decimal amounts"). The minor unit is the currency's own: a cent, a yen, a fils.
    That a negative half goes away from zero is our reading; no line of usage is negative.
    """
    doubled = 2 * abs(amount) + 1
    nearest = doubled.numerator // (2 * doubled.denominator)
    return nearest if amount >= 0 else -nearest


def decimals_of(currency: str) -> int:
    """Say how many decimals of the currency one minor unit stands for: what to show people, never what to round to."""
    name = currency.lower()
    if name in _ZERO_DECIMALS:
        return 0
    return 3 if name in _THREE_DECIMALS else 2
