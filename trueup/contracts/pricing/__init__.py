"""The price mirror: what Stripe's prices make of a quantity, worked out by ourselves with exact numbers.

It is written from Stripe's documentation alone, so that it can judge an invoice; nothing here asks Stripe.
"""

from trueup.contracts.pricing.amounts import PricedLine, PricedLines, amount_of, amount_of_smallest, marginal_amount
from trueup.contracts.pricing.price import Package, Price, PriceError, Scheme, Tier, parse_price
from trueup.contracts.pricing.rounding import decimals_of, to_minor_units

__all__ = [
    "Package",
    "Price",
    "PriceError",
    "PricedLine",
    "PricedLines",
    "Scheme",
    "Tier",
    "amount_of",
    "amount_of_smallest",
    "decimals_of",
    "marginal_amount",
    "parse_price",
    "to_minor_units",
]
