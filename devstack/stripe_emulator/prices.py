"""Products and prices: so much per unit, per package, or by tiers; recurring ones may be metered."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

from devstack.stripe_emulator import errors
from devstack.stripe_emulator.books import plain
from devstack.stripe_emulator.call import Answer, Call, Route, object_id, stored
from devstack.stripe_emulator.events import occurred
from devstack.stripe_emulator.forms import Parameters
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.lists import PAGING, page
from devstack.stripe_emulator.state import Object

_INTERVALS = ("day", "month", "week", "year")
_MOST_DECIMALS = 12
_TIER_PARAMETERS = ("flat_amount", "flat_amount_decimal", "unit_amount", "unit_amount_decimal")


def create_product(call: Call) -> Answer:
    """Make a product; Stripe lets the caller choose its id."""
    parameters = call.parameters
    identifier = parameters.text("id") or call.new_id("prod")
    if call.state.find("product", identifier) is not None:
        raise errors.StripeError("Product already exists.", code="resource_already_exists", parameter="id")
    made = _product(identifier, parameters.needed_text("name"), call.now)
    made["description"] = parameters.text("description")
    made["metadata"] = parameters.mapping("metadata")
    made["unit_label"] = parameters.text("unit_label")
    made["active"] = parameters.boolean("active") is not False
    return Answer(made, stored("product", made))


def _product(identifier: str, name: str, now: int) -> Object:
    return {
        "id": identifier,
        "object": "product",
        "active": True,
        "created": now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": now,
        "url": None,
    }


def retrieve_product(call: Call) -> Answer:
    """Show a product."""
    return Answer(call.needed("product"))


def list_products(call: Call) -> Answer:
    """List products, newest first."""
    active = call.parameters.boolean("active")
    chosen = [product for product in call.state.newest_first("product") if active in (None, product["active"])]
    return Answer(page(chosen, call.parameters, "/v1/products", "product"))


def create_price(call: Call) -> Answer:
    """Make a price."""
    parameters = call.parameters
    scheme, tiers, transform = _scheme(parameters)
    unit_amount, unit_amount_decimal = (None, None) if tiers else amounts(parameters, "unit_amount", needed=True)
    lookup_key = parameters.text("lookup_key", at_most=200)
    if lookup_key is not None and any(price["lookup_key"] == lookup_key for price in call.state.newest_first("price")):
        raise errors.StripeError(f"A price already uses the lookup key {lookup_key}.", parameter="lookup_key")
    recurring = _recurring(call)
    product, records = _product_of(call)
    made: Object = {
        "id": call.new_id("price"),
        "object": "price",
        "active": parameters.boolean("active") is not False,
        "billing_scheme": scheme,
        "created": call.now,
        "currency": parameters.needed_text("currency", at_most=3).lower(),
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": lookup_key,
        "metadata": parameters.mapping("metadata"),
        "nickname": parameters.text("nickname"),
        "product": product,
        "recurring": recurring,
        "tax_behavior": "unspecified",
        "tiers": tiers,
        "tiers_mode": parameters.choice("tiers_mode", ("graduated", "volume")),
        "transform_quantity": transform,
        "type": "one_time" if recurring is None else "recurring",
        "unit_amount": unit_amount,
        "unit_amount_decimal": unit_amount_decimal,
    }
    happened = occurred(call.state, "price.created", shown_price(made), call.now_ms)
    return Answer(shown_price(made, call.expand), [*records, *stored("price", made), *happened])


def shown_price(price: Object, expand: Collection[str] = (), prefix: str = "") -> Object:
    """Give a price as Stripe shows it: its tiers only to those who ask for them."""
    return price if prefix + "tiers" in expand else {name: value for name, value in price.items() if name != "tiers"}


def amounts(parameters: Parameters, name: str, *, needed: bool) -> tuple[int | None, str | None]:
    """Give an amount as an integer, where it is one, and as a decimal text; both None where it was left out."""
    whole, exact = parameters.integer(name), parameters.decimal(f"{name}_decimal")
    if whole is not None and exact is not None:
        raise errors.StripeError(f"You may only specify one of these parameters: {name}, {name}_decimal.")
    amount = Decimal(whole) if whole is not None else exact
    if amount is None:
        if needed:
            raise errors.missing_parameter(name)
        return None, None
    text = plain(amount)
    if amount < 0 or len(text.partition(".")[2]) > _MOST_DECIMALS:
        raise errors.StripeError(f"Invalid decimal: {text}; must be at least 0 with at most {_MOST_DECIMALS} decimal places.")
    return (int(amount) if "." not in text else None), text


def _scheme(parameters: Parameters) -> tuple[str, list[Object] | None, Object | None]:
    """Read how quantities are priced: the scheme, its tiers, and the division into packages."""
    scheme = parameters.choice("billing_scheme", ("per_unit", "tiered")) or "per_unit"
    tiers = [_tier(tier) for tier in parameters.children("tiers", accepts=_TIER_PARAMETERS, requires=("up_to",))]
    transform = parameters.child("transform_quantity", accepts=(), requires=("divide_by", "round"))
    if (scheme == "tiered") != bool(tiers) or bool(tiers) != ("tiers_mode" in parameters):
        raise errors.StripeError("`billing_scheme=tiered`, `tiers` and `tiers_mode` must be given together.", parameter="tiers")
    if tiers and ("unit_amount" in parameters or "unit_amount_decimal" in parameters or transform is not None):
        raise errors.StripeError("A tiered price has neither `unit_amount` nor `transform_quantity`.", parameter="tiers")
    bounds = [tier["up_to"] for tier in tiers]
    if tiers and (bounds[-1] is not None or None in bounds[:-1] or bounds[:-1] != sorted(set(bounds[:-1])) or 0 in bounds):
        raise errors.StripeError("Tiers must be ascending, and the last one must have `up_to=inf`.", parameter="tiers")
    if transform is None:
        return scheme, tiers or None, None
    divide_by = transform.needed_integer("divide_by")
    if divide_by < 1:
        raise errors.StripeError("Invalid positive integer", parameter="transform_quantity[divide_by]")
    return scheme, None, {"divide_by": divide_by, "round": transform.choice("round", ("down", "up"))}


def _tier(tier: Parameters) -> Object:
    """Read one tier; it has an amount per unit, a flat one, or both."""
    up_to = None if tier.text("up_to") == "inf" else tier.needed_integer("up_to")
    unit_amount, unit_amount_decimal = amounts(tier, "unit_amount", needed=False)
    flat_amount, flat_amount_decimal = amounts(tier, "flat_amount", needed=False)
    if unit_amount_decimal is None and flat_amount_decimal is None:
        raise errors.StripeError("Each tier must have at least one of `unit_amount` and `flat_amount`.", parameter="tiers")
    return {
        "flat_amount": flat_amount,
        "flat_amount_decimal": flat_amount_decimal,
        "unit_amount": unit_amount,
        "unit_amount_decimal": unit_amount_decimal,
        "up_to": up_to,
    }


def _recurring(call: Call) -> Object | None:
    """Read the interval and the meter; a metered price needs an active meter behind it."""
    recurring = call.parameters.child("recurring", accepts=("interval_count", "meter", "usage_type"), requires=("interval",))
    if recurring is None:
        return None
    usage_type = recurring.choice("usage_type", ("licensed", "metered")) or "licensed"
    meter = recurring.text("meter")
    if usage_type == "metered" and meter is None:
        raise errors.StripeError("Metered prices must be backed by a meter.", parameter="recurring[meter]")
    if usage_type == "licensed" and meter is not None:
        raise errors.StripeError("Only metered prices can be backed by a meter.", parameter="recurring[meter]")
    if meter is not None:
        found = call.state.find("meter", meter)
        if found is None:
            raise errors.no_such("meter", meter, "recurring[meter]")
        if found["status"] != "active":
            raise errors.StripeError(f"The meter {meter} is inactive and can't be attached to a price.", parameter="recurring[meter]")
    return {
        "interval": recurring.choice("interval", _INTERVALS),
        "interval_count": recurring.integer("interval_count") or 1,
        "meter": meter,
        "trial_period_days": None,
        "usage_type": usage_type,
    }


def _product_of(call: Call) -> tuple[str, list[Record]]:
    """Find the product of a new price, or make it from ``product_data``."""
    product = call.parameters.text("product")
    data = call.parameters.child("product_data", accepts=("id",), requires=("name",))
    if (product is None) == (data is None):
        raise errors.StripeError("You must specify either `product` or `product_data` when creating a price.", parameter="product")
    if data is not None:
        made = _product(data.text("id") or object_id("prod"), data.needed_text("name"), call.now)
        return made["id"], stored("product", made)
    if product is None or call.state.find("product", product) is None:
        raise errors.no_such("product", str(product), "product")
    return product, []


def retrieve_price(call: Call) -> Answer:
    """Show a price."""
    return Answer(shown_price(call.needed("price"), call.expand))


def list_prices(call: Call) -> Answer:
    """List prices, newest first."""
    parameters = call.parameters
    active, product, currency = parameters.boolean("active"), parameters.text("product"), parameters.text("currency")
    kind, lookup_keys = parameters.choice("type", ("one_time", "recurring")), parameters.texts("lookup_keys")
    recurring = parameters.child("recurring", accepts=("interval", "meter", "usage_type"))
    wished = {} if recurring is None else {name: recurring.text(name) for name in ("interval", "meter", "usage_type") if name in recurring}
    chosen = [
        shown_price(price, call.expand, "data.")
        for price in call.state.newest_first("price")
        if active in (None, price["active"])
        and product in (None, price["product"])
        and currency in (None, price["currency"])
        and kind in (None, price["type"])
        and (not lookup_keys or price["lookup_key"] in lookup_keys)
        and all((price["recurring"] or {}).get(name) == value for name, value in wished.items())
    ]
    return Answer(page(chosen, parameters, "/v1/prices", "price"))


_PRICE_PARAMETERS = frozenset(
    {"active", "billing_scheme", "lookup_key", "metadata", "nickname", "product", "product_data", "recurring", "tiers", "tiers_mode"}
    | {"transform_quantity", "unit_amount", "unit_amount_decimal"}
)
_PRICE_FILTERS = frozenset({"active", "currency", "lookup_keys", "product", "recurring", "type"})
ROUTES = (
    Route("POST", "/v1/products", create_product, frozenset({"active", "description", "id", "metadata", "unit_label"}), ("name",)),
    Route("GET", "/v1/products", list_products, PAGING | {"active"}),
    Route("GET", "/v1/products/{id}", retrieve_product),
    Route("POST", "/v1/prices", create_price, _PRICE_PARAMETERS, ("currency",), frozenset({"tiers"})),
    Route("GET", "/v1/prices", list_prices, PAGING | _PRICE_FILTERS, (), frozenset({"data.tiers"})),
    Route("GET", "/v1/prices/{id}", retrieve_price, expands=frozenset({"tiers"})),
)
